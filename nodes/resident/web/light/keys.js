/**
 * Public keys and signatures: suite 1 is ECDSA on P-256 with SHA-256.
 *
 * A public key is the suite byte and its DER SubjectPublicKeyInfo; a signature is the suite byte and
 * r, s of 32 bytes each, s in the lower half of the group order (B4).
 * @module
 */

import { compare, equal, fromHex, toBigInt, toHex } from "./bytes.js";
import { BadSignature, NotCanonical } from "./errors.js";
import { hashTagged } from "./hashing.js";
import { PUBLIC_KEY_BYTES_MAX, SIGNATURE_BYTES } from "./limits.js";

const SUITE_P256 = 1;
/** SubjectPublicKeyInfo of P-256 up to the coordinates of an uncompressed point. */
const SPKI_HEAD = fromHex("3059301306072a8648ce3d020106082a8648ce3d03010703420004");
const KEY_BYTES = 1 + SPKI_HEAD.length + 64;
const PRIME = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const HALF_ORDER = fromHex("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8");
const ZERO = new Uint8Array(32);
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** Imported keys, by their bytes: the same few sign everything. @type {Map<string, Promise<CryptoKey>>} */
const imported = new Map();
const IMPORTED_MAX = 4_096;

/** A public key that is known to be a point of its curve. */
export class PublicKey {
  /** @param {Uint8Array} encoded suite byte and SubjectPublicKeyInfo, which the caller checked */
  constructor(encoded) {
    this.encoded = encoded;
  }

  /** Checks suite, curve and that the bytes are the canonical form. @param {Uint8Array} encoded */
  static decode(encoded) {
    if (encoded.length > PUBLIC_KEY_BYTES_MAX || encoded[0] !== SUITE_P256) {
      throw new NotCanonical("public key", "unknown suite or size");
    }
    const point = encoded.subarray(1 + SPKI_HEAD.length);
    if (
      encoded.length !== KEY_BYTES ||
      !equal(encoded.subarray(1, 1 + SPKI_HEAD.length), SPKI_HEAD) ||
      !onCurve(toBigInt(point.subarray(0, 32)), toBigInt(point.subarray(32)))
    ) {
      throw new NotCanonical("public key", "no SubjectPublicKeyInfo");
    }
    return new PublicKey(encoded);
  }

  /** H("key", SubjectPublicKeyInfo). */
  get keyId() {
    return hashTagged("key", this.encoded.subarray(1));
  }

  /** WebCrypto's form. */
  cryptoKey() {
    const name = toHex(this.encoded);
    let key = imported.get(name);
    if (key === undefined) {
      if (imported.size >= IMPORTED_MAX) imported.clear();
      key = crypto.subtle.importKey("spki", this.encoded.slice(1), ALGORITHM, false, ["verify"]);
      imported.set(name, key);
    }
    return key;
  }
}

/** @param {bigint} x @param {bigint} y */
function onCurve(x, y) {
  return x < PRIME && y < PRIME && (y * y - (x * x * x - 3n * x + B)) % PRIME === 0n;
}

/**
 * Throws BadSignature unless `signature` is the low-s signature of SHA-256(`preimage`) by `key`.
 * @param {PublicKey} key
 * @param {Uint8Array} signature
 * @param {Uint8Array<ArrayBuffer>} preimage
 * @param {string} what
 */
export async function verifySignature(key, signature, preimage, what) {
  const r = signature.subarray(1, 33);
  const s = signature.subarray(33);
  if (
    signature.length !== SIGNATURE_BYTES ||
    signature[0] !== SUITE_P256 ||
    compare(s, HALF_ORDER) > 0 ||
    equal(r, ZERO) ||
    equal(s, ZERO) ||
    !(await crypto.subtle.verify(ALGORITHM, await key.cryptoKey(), signature.slice(1), preimage))
  ) {
    throw new BadSignature(what);
  }
}
