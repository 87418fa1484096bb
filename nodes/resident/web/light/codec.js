/**
 * The one canonical encoding (B1, B2): MessagePack with arrays, unsigned integers in shortest form,
 * byte strings, text in NFC, nil, and maps with text keys in the order of their bytes.
 *
 * `decode` throws only `NotCanonical` or `TooLarge`. Integers are `bigint`: the protocol's have 64
 * bits. Byte strings are copies, so that keeping one does not keep the answer it came in.
 * @module
 */

import { ascending, compare, concat, joined, u32, u64, utf8 } from "./bytes.js";
import { NotCanonical, OutOfRange, TooLarge } from "./errors.js";
import { CODEC_DEPTH_MAX, CODEC_ITEMS_MAX, U64_MAX } from "./limits.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {bigint | Uint8Array | string | null | ValueArray | ValueMap} Value */
/** @typedef {readonly Value[]} ValueArray */
/** @typedef {ReadonlyMap<string, Value>} ValueMap */

const UINT = 0, NEGATIVE = 1, NIL = 2, BOOLEAN = 3, FLOAT = 4, BINARY = 5, TEXT = 6, ARRAY = 7,
  MAP = 8, EXTENSION = 9;
const NESTING_MAX = 1_024;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The value whose canonical encoding `data` is; `what` names it in errors.
 *
 * Refuses, in this order: more than `limit` bytes; bytes that are no whole MessagePack value, or
 * more than one; too many arrays and maps; kinds the protocol does not use; any other form than
 * the canonical one.
 * @param {Uint8Array} data
 * @param {number} limit
 * @param {string} what
 * @returns {Value}
 */
export function decode(data, limit, what) {
  if (data.length > limit) throw new TooLarge(what, data.length, limit);
  const reader = new Reader(data, what);
  reader.checkWhole();
  reader.at = 0;
  const value = reader.value(0);
  if (reader.forbidden !== null) throw new NotCanonical(what, reader.forbidden);
  if (reader.longForm) throw new NotCanonical(what, "another encoding of the same value exists");
  return value;
}

class Reader {
  /** @param {Uint8Array} data @param {string} what */
  constructor(data, what) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.what = what;
    this.at = 0;
    this.kind = NIL;
    /** Bytes of the payload, or items of the array or map. */
    this.size = 0;
    this.number = 0n;
    this.containers = 0;
    /** First thing found that the protocol does not use. @type {string | null} */
    this.forbidden = null;
    /** Something was longer than its shortest form. */
    this.longForm = false;
  }

  /** Throws unless the bytes are exactly one value; nothing is built. */
  checkWhole() {
    for (let wanted = 1; wanted > 0; wanted--) {
      this.head();
      if (this.kind === ARRAY) wanted += this.size;
      else if (this.kind === MAP) wanted += 2 * this.size;
      else this.skip(this.size);
    }
    if (this.at !== this.data.length) {
      throw new NotCanonical(this.what, "other bytes follow the value");
    }
  }

  /** @param {number} depth @returns {Value} */
  value(depth) {
    this.head();
    switch (this.kind) {
      case UINT:
        return this.number;
      case NIL:
        return null;
      case BINARY:
        return this.payload().slice();
      case TEXT:
        return this.text();
      case ARRAY:
        return this.array(depth);
      case MAP:
        return this.map(depth);
      case NEGATIVE:
        return this.forbid("an integer outside 0..2^64-1");
      case BOOLEAN:
        return this.forbid("a boolean");
      case FLOAT:
        this.skip(this.size);
        return this.forbid("a value of kind float");
      default:
        if (this.size > 1) throw this.malformed("ValueError");
        this.skip(this.size);
        return this.forbid("a value of kind ExtType");
    }
  }

  /** @param {number} depth */
  array(depth) {
    const size = this.container(depth);
    const items = new Array(size);
    for (let i = 0; i < size; i++) items[i] = this.value(depth + 1);
    this.count();
    return items;
  }

  /** @param {number} depth */
  map(depth) {
    const size = this.container(depth);
    /** @type {Map<string, Value>} */
    const items = new Map();
    const keys = [];
    for (let i = 0; i < size; i++) {
      const key = this.value(depth + 1);
      if (key instanceof Uint8Array) throw new NotCanonical("map", "a key that is not text");
      if (typeof key !== "string") throw this.malformed("ValueError");
      keys.push(utf8(key));
      items.set(key, this.value(depth + 1));
    }
    if (!ascending(keys)) {
      throw new NotCanonical("map", "a key occurs twice, or the keys are not sorted");
    }
    this.count();
    return items;
  }

  /** Size of the array or map that begins here. @param {number} depth */
  container(depth) {
    if (depth >= NESTING_MAX) throw this.malformed("StackError");
    if (this.size > CODEC_ITEMS_MAX) throw this.malformed("ValueError");
    if (depth >= CODEC_DEPTH_MAX) this.forbid(`nested deeper than ${CODEC_DEPTH_MAX}`);
    return this.size;
  }

  count() {
    this.containers += 1;
    if (this.containers > CODEC_ITEMS_MAX) {
      throw new TooLarge(`${this.what}: arrays and maps`, this.containers, CODEC_ITEMS_MAX);
    }
  }

  text() {
    let text;
    try {
      text = decoder.decode(this.payload());
    } catch {
      throw this.malformed("UnicodeDecodeError");
    }
    // Text of ASCII alone has as many characters as bytes.
    if (text.length !== this.size && text.normalize("NFC") !== text) this.forbid("text that is not in NFC");
    return text;
  }

  payload() {
    const start = this.at;
    this.skip(this.size);
    return this.data.subarray(start, this.at);
  }

  /** @param {string} reason */
  forbid(reason) {
    this.forbidden ??= reason;
    return null;
  }

  /** @param {string} error */
  malformed(error) {
    return new NotCanonical(this.what, `no MessagePack value (${error})`);
  }

  /** @param {number} size */
  skip(size) {
    if (size > this.data.length - this.at) throw this.malformed("OutOfData");
    this.at += size;
  }

  /** Reads what stands before a payload: sets `kind`, `size` and `number`. */
  head() {
    this.skip(1);
    const byte = this.data[this.at - 1];
    if (byte < 0x80) this.uint(BigInt(byte));
    else if (byte < 0x90) this.is(MAP, byte & 0x0f);
    else if (byte < 0xa0) this.is(ARRAY, byte & 0x0f);
    else if (byte < 0xc0) this.is(TEXT, byte & 0x1f);
    else if (byte >= 0xe0) this.is(NEGATIVE, 0);
    else if (byte >= 0xd4 && byte <= 0xd8) this.is(EXTENSION, 1 + (1 << (byte - 0xd4)));
    else if (byte >= 0xd0 && byte <= 0xd3) this.signed(1 << (byte - 0xd0));
    else if (byte >= 0xcc && byte <= 0xcf) this.unsigned(1 << (byte - 0xcc));
    else this.longHead(byte);
  }

  /** @param {number} byte */
  longHead(byte) {
    switch (byte) {
      case 0xc0:
        return this.is(NIL, 0);
      case 0xc1:
        throw this.malformed("FormatError");
      case 0xc2:
      case 0xc3:
        return this.is(BOOLEAN, 0);
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.sized(BINARY, 1 << (byte - 0xc4), 0);
      case 0xc7:
      case 0xc8:
      case 0xc9:
        this.sized(EXTENSION, 1 << (byte - 0xc7), 0);
        this.size += 1; // its type
        return;
      case 0xca:
      case 0xcb:
        return this.is(FLOAT, byte === 0xca ? 4 : 8);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.sized(TEXT, 1 << (byte - 0xd9), 32);
      case 0xdc:
      case 0xdd:
        return this.sized(ARRAY, byte === 0xdc ? 2 : 4, 16);
      default:
        return this.sized(MAP, byte === 0xde ? 2 : 4, 16);
    }
  }

  /** @param {number} kind @param {number} size */
  is(kind, size) {
    this.kind = kind;
    this.size = size;
  }

  /** @param {bigint} number */
  uint(number) {
    this.is(UINT, 0);
    this.number = number;
  }

  /** A size in 1, 2 or 4 bytes; below `least` none is needed. @param {number} kind @param {number} width @param {number} least */
  sized(kind, width, least) {
    const size = Number(this.big(width));
    this.is(kind, size);
    const shortest = size < least ? 0 : size < 0x100 && kind !== ARRAY && kind !== MAP ? 1
      : size < 0x10000 ? 2 : 4;
    if (width !== shortest) this.longForm = true;
  }

  /** @param {number} width */
  unsigned(width) {
    const number = this.big(width);
    const shortest = number < 0x80n ? 0 : number < 0x100n ? 1 : number < 0x10000n ? 2
      : number < 0x100000000n ? 4 : 8;
    if (width !== shortest) this.longForm = true;
    this.uint(number);
  }

  /** @param {number} width */
  signed(width) {
    const number = BigInt.asIntN(8 * width, this.big(width));
    if (number < 0n) return this.is(NEGATIVE, 0);
    this.longForm = true;
    return this.uint(number);
  }

  /** @param {number} width */
  big(width) {
    const at = this.at;
    this.skip(width);
    if (width === 1) return BigInt(this.view.getUint8(at));
    if (width === 2) return BigInt(this.view.getUint16(at));
    return width === 4 ? BigInt(this.view.getUint32(at)) : this.view.getBigUint64(at);
  }
}

/**
 * Canonical bytes of `value`; throws NotCanonical where it has none.
 * @param {Value} value
 * @returns {Bytes}
 */
export function encode(value) {
  /** @type {Uint8Array[]} */
  const parts = [];
  write(parts, value, 0);
  return joined(parts);
}

/** @param {Uint8Array[]} parts @param {Value} value @param {number} depth */
function write(parts, value, depth) {
  if (value === null) parts.push(Uint8Array.of(0xc0));
  else if (typeof value === "bigint") parts.push(uintBytes(value));
  else if (typeof value === "string") writeText(parts, value);
  else if (value instanceof Uint8Array) {
    parts.push(sizeBytes(value.length, [0xc4, 0xc5, 0xc6]), value);
  } else writeContainer(parts, value, depth);
}

/** @param {Uint8Array[]} parts @param {ValueArray | ValueMap} value @param {number} depth */
function writeContainer(parts, value, depth) {
  if (depth >= CODEC_DEPTH_MAX) {
    throw new NotCanonical("value", `nested deeper than ${CODEC_DEPTH_MAX}`);
  }
  if (value instanceof Map) {
    const keys = [...value.keys()].sort((a, b) => compare(utf8(a), utf8(b)));
    parts.push(keys.length < 16 ? Uint8Array.of(0x80 | keys.length)
      : sizeBytes(keys.length, [0xde, 0xde, 0xdf]));
    for (const key of keys) {
      writeText(parts, key);
      write(parts, /** @type {Value} */ (value.get(key)), depth + 1);
    }
    return;
  }
  const items = /** @type {ValueArray} */ (value);
  if (items.length > CODEC_ITEMS_MAX) {
    throw new NotCanonical("value", `more than ${CODEC_ITEMS_MAX} items`);
  }
  parts.push(items.length < 16 ? Uint8Array.of(0x90 | items.length)
    : sizeBytes(items.length, [0xdc, 0xdc, 0xdd]));
  for (const item of items) write(parts, item, depth + 1);
}

/** @param {Uint8Array[]} parts @param {string} text */
function writeText(parts, text) {
  if (/\p{Surrogate}/u.test(text)) {
    throw new NotCanonical("value", "text with half of a surrogate pair");
  }
  if (text.normalize("NFC") !== text) throw new NotCanonical("value", "text that is not in NFC");
  const bytes = utf8(text);
  parts.push(bytes.length < 32 ? Uint8Array.of(0xa0 | bytes.length)
    : sizeBytes(bytes.length, [0xd9, 0xda, 0xdb]), bytes);
}

/** @param {number} size @param {[number, number, number]} heads for 1, 2 and 4 bytes of size */
function sizeBytes(size, [one, two, four]) {
  if (size < 0x100 && one !== two) return Uint8Array.of(one, size);
  if (size < 0x10000) return Uint8Array.of(two, size >> 8, size & 0xff);
  return concat(Uint8Array.of(four), u32(size));
}

/** @param {bigint} value */
function uintBytes(value) {
  if (value < 0n || value > U64_MAX) {
    throw new NotCanonical("value", "an integer outside 0..2^64-1");
  }
  if (value < 0x80n) return Uint8Array.of(Number(value));
  const bytes = u64(value);
  if (value < 0x100n) return concat(Uint8Array.of(0xcc), bytes.subarray(7));
  if (value < 0x10000n) return concat(Uint8Array.of(0xcd), bytes.subarray(6));
  if (value < 0x100000000n) return concat(Uint8Array.of(0xce), bytes.subarray(4));
  return concat(Uint8Array.of(0xcf), bytes);
}

/** @param {Value} value @returns {value is ValueArray} */
function isArray(value) {
  return Array.isArray(value);
}

/** @param {Value} value @returns {ValueArray | null} */
export function asArray(value) {
  return isArray(value) ? value : null;
}

/** An array of exactly `length` items. @param {Value} value @param {number} length @param {string} what */
export function array(value, length, what) {
  if (!isArray(value) || value.length !== length) {
    throw new NotCanonical(what, `an array of ${length} fields is wanted`);
  }
  return value;
}

/** An array of at most `limit` items. @param {Value} value @param {number} limit @param {string} what */
export function arrayUpTo(value, limit, what) {
  if (!isArray(value)) throw new NotCanonical(what, "an array is wanted");
  if (value.length > limit) throw new TooLarge(what, value.length, limit);
  return value;
}

/** An unsigned integer of at most `limit`. @param {Value} value @param {string} what @param {bigint} limit */
export function uint(value, what, limit = U64_MAX) {
  if (typeof value !== "bigint") throw new NotCanonical(what, "an unsigned integer is wanted");
  if (value > limit) throw new TooLarge(what, value, limit);
  return value;
}

/** The same as a number. @param {Value} value @param {string} what @param {number} limit a safe integer */
export function small(value, what, limit) {
  return Number(uint(value, what, BigInt(limit)));
}

/** A byte string of at most `limit` bytes. @param {Value} value @param {string} what @param {number} limit */
export function binary(value, what, limit) {
  if (!(value instanceof Uint8Array)) throw new NotCanonical(what, "a byte string is wanted");
  if (value.length > limit) throw new TooLarge(what, value.length, limit);
  return value;
}

/** Text of at most `limit` characters. @param {Value} value @param {string} what @param {number} limit */
export function text(value, what, limit) {
  if (typeof value !== "string") throw new NotCanonical(what, "text is wanted");
  // Characters are code points; a text has at least half as many as it has code units.
  const size = value.length > limit ? [...value].length : value.length;
  if (size > limit) throw new TooLarge(what, size, limit);
  return value;
}

/**
 * A byte string of exactly `size` bytes; `type` is the name of its Python type.
 * @param {Value} value
 * @param {string} what
 * @param {number} size
 * @param {string} type
 */
export function fixed(value, what, size, type) {
  return sized(binary(value, what, size), size, type);
}

/** `bytes`, which must be `size` many. @param {Uint8Array} bytes @param {number} size @param {string} type */
export function sized(bytes, size, type) {
  if (bytes.length !== size) throw new OutOfRange(type, `${bytes.length} bytes, ${size} wanted`);
  return bytes;
}

/** A hash. @param {Value} value @param {string} what @param {string} type */
export function hash32(value, what, type = "Hash32") {
  return fixed(value, what, 32, type);
}

const MEMBER_ID = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

/** The name of an organisation on chain. @param {Value} value @param {string} what */
export function memberId(value, what) {
  const name = text(value, what, 32);
  if (!MEMBER_ID.test(name)) throw new OutOfRange("MemberId", quoted(name));
  return name;
}

/** As Python shows a text. @param {string} text */
export function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t");
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark;
}
