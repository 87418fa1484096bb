/**
 * The log tree of RFC 6962 and the state tree: roots, and the checks of proofs (B6).
 *
 * There is exactly one valid proof for each statement; shape is checked before anything is hashed.
 * @module
 */

import { compare, concat, equal, toBigInt } from "./bytes.js";
import * as codec from "./codec.js";
import { NotCanonical, ProofInvalid } from "./errors.js";
import { hashTagged, sha256 } from "./hashing.js";
import { STATE_DEPTH_MAX, STATE_PROOF_BYTES_MAX, U64_MAX } from "./limits.js";

const INCLUSION = "inclusion proof";
const CONSISTENCY = "consistency proof";
const STATE = "state proof";

export const EMPTY_ROOT = sha256(new Uint8Array(0));
export const ZERO_HASH = new Uint8Array(32);

const node = Uint8Array.of(1, ...new Uint8Array(64));

/** SHA-256(0x00 + entry). @param {Uint8Array} entry */
export function leafHash(entry) {
  const bytes = new Uint8Array(1 + entry.length);
  bytes.set(entry, 1);
  return sha256(bytes);
}

/** SHA-256(0x01 + left + right) of two hashes of 32 bytes. @param {Uint8Array} left @param {Uint8Array} right */
export function nodeHash(left, right) {
  node.set(left, 1);
  node.set(right, 33);
  return sha256(node);
}

/** Root over all `leafHashes`. @param {readonly Uint8Array[]} leafHashes */
export function rootOf(leafHashes) {
  if (leafHashes.length === 0) return EMPTY_ROOT;
  let level = leafHashes;
  while (level.length > 1) {
    // An odd last one is carried up: level by level this is the split of RFC 6962.
    const above = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(nodeHash(level[i], level[i + 1]));
    if (level.length % 2 === 1) above.push(level[level.length - 1]);
    level = above;
  }
  return level[0];
}

/** @param {bigint} value */
function bitLength(value) {
  return value === 0n ? 0 : value.toString(2).length;
}

/** @param {bigint} value */
function bitCount(value) {
  return value.toString(2).replaceAll("0", "").length;
}

/** @param {string} what @param {readonly Uint8Array[]} path */
function checkHashes(what, path) {
  if (path.some((item) => item.length !== 32)) {
    throw new ProofInvalid(what, "a hash of the path is not 32 bytes long");
  }
}

/**
 * `entry` is number `index` (from 0) of the `count` entries under `root` (RFC 9162, 2.1.3.2).
 * @param {Uint8Array} entry
 * @param {bigint} index
 * @param {bigint} count
 * @param {readonly Uint8Array[]} path
 * @param {Uint8Array} root
 */
export function verifyInclusion(entry, index, count, path, root) {
  if (!(0n <= index && index < count && count <= U64_MAX)) {
    throw new ProofInvalid(INCLUSION, "the index is not within the count");
  }
  let last = count - 1n;
  const shared = bitLength(index ^ last);
  if (path.length !== shared + bitCount(index >> BigInt(shared))) {
    throw new ProofInvalid(INCLUSION, "the path has another length than index and count demand");
  }
  checkHashes(INCLUSION, path);
  let found = leafHash(entry);
  for (const sibling of path) {
    while ((index & 1n) === 0n && index === last) [index, last] = [index >> 1n, last >> 1n];
    found = index & 1n ? nodeHash(sibling, found) : nodeHash(found, sibling);
    [index, last] = [index >> 1n, last >> 1n];
  }
  if (!equal(found, root)) throw new ProofInvalid(INCLUSION, "the path does not lead to the root");
}

/**
 * The log of `count` entries under `root` begins with the one under `oldRoot` (RFC 9162, 2.1.4.2).
 * @param {bigint} oldCount
 * @param {Uint8Array} oldRoot
 * @param {bigint} count
 * @param {Uint8Array} root
 * @param {readonly Uint8Array[]} path
 */
export function verifyConsistency(oldCount, oldRoot, count, root, path) {
  if (!(0n <= oldCount && oldCount <= count && count <= U64_MAX)) {
    throw new ProofInvalid(CONSISTENCY, "the log became shorter");
  }
  if (oldCount === 0n || oldCount === count) {
    checkNothingToShow(oldCount, oldRoot, count, root, path);
    return;
  }
  checkHashes(CONSISTENCY, path);
  let [index, last] = [oldCount - 1n, count - 1n];
  while (index & 1n) [index, last] = [index >> 1n, last >> 1n];
  // The old root itself is the first node where the old log is one complete subtree.
  const nodes = index ? path : [oldRoot, ...path];
  const shared = bitLength(index ^ last);
  if (nodes.length !== 1 + shared + bitCount(index >> BigInt(shared))) {
    throw new ProofInvalid(CONSISTENCY, "the path has another length than the counts demand");
  }
  let [old, found] = [nodes[0], nodes[0]];
  for (const sibling of nodes.slice(1)) {
    while ((index & 1n) === 0n && index === last) [index, last] = [index >> 1n, last >> 1n];
    if (index & 1n) [old, found] = [nodeHash(sibling, old), nodeHash(sibling, found)];
    else found = nodeHash(found, sibling);
    [index, last] = [index >> 1n, last >> 1n];
  }
  if (!equal(old, oldRoot)) {
    throw new ProofInvalid(CONSISTENCY, "the path does not lead to the old root");
  }
  if (!equal(found, root)) {
    throw new ProofInvalid(CONSISTENCY, "the path does not lead to the root");
  }
}

/**
 * @param {bigint} oldCount
 * @param {Uint8Array} oldRoot
 * @param {bigint} count
 * @param {Uint8Array} root
 * @param {readonly Uint8Array[]} path
 */
function checkNothingToShow(oldCount, oldRoot, count, root, path) {
  if (path.length > 0) {
    throw new ProofInvalid(CONSISTENCY, "nothing is to be shown, yet the path is not empty");
  }
  if (oldCount === 0n && !equal(oldRoot, EMPTY_ROOT)) {
    throw new ProofInvalid(CONSISTENCY, "the old root is not that of an empty log");
  }
  if (oldCount === count && !equal(oldRoot, root)) {
    throw new ProofInvalid(CONSISTENCY, "two roots for the same count");
  }
}

/** Where one position of the state tree ends, and all that hangs beside the way there. */
export class StateProof {
  /**
   * @param {number} depth nodes from the root to where the path ends, 0 to 256
   * @param {Uint8Array} bitmap bit i, most significant first: the sibling at depth i + 1 is not empty
   * @param {readonly Uint8Array[]} siblings those that are not empty, root side first
   * @param {readonly [Uint8Array, Uint8Array] | null} other position and value hash of the different
   *   leaf that ends the path
   */
  constructor(depth, bitmap, siblings, other) {
    this.depth = depth;
    this.bitmap = bitmap;
    this.siblings = siblings;
    this.other = other;
  }

  /** @returns {codec.Value} */
  toValue() {
    return [BigInt(this.depth), this.bitmap, this.siblings, this.other];
  }

  /** @param {codec.Value} value */
  static fromValue(value) {
    const [depth, bitmap, siblings, other] = codec.array(value, 4, STATE);
    const pair = other === null ? null : codec.array(other, 2, "state proof's other leaf");
    return new StateProof(
      codec.small(depth, "state proof's depth", STATE_DEPTH_MAX),
      codec.binary(bitmap, "state proof's bitmap", STATE_DEPTH_MAX / 8),
      codec.arrayUpTo(siblings, STATE_DEPTH_MAX, STATE)
        .map((sibling) => hashOf(sibling, "state proof's sibling")),
      pair === null ? null
        : [hashOf(pair[0], "other leaf's position"), hashOf(pair[1], "other leaf's hash")],
    );
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    return StateProof.fromValue(codec.decode(data, STATE_PROOF_BYTES_MAX, STATE));
  }
}

/** @param {codec.Value} value @param {string} what */
function hashOf(value, what) {
  const data = codec.binary(value, what, 32);
  if (data.length !== 32) throw new NotCanonical(what, "a hash of 32 bytes is wanted");
  return data;
}

/** Bit `place` of a position or bitmap, most significant first. @param {Uint8Array} bytes @param {number} place */
function bit(bytes, place) {
  return (bytes[place >> 3] >> (7 - (place & 7))) & 1;
}

/**
 * `key` has `value` (null: is absent) in the state tree under `root`.
 *
 * Checks, in this order: depth; length and spare bits of the bitmap; one sibling per bit, none of
 * them empty, the deepest one present; the leaf that ends the path; root.
 * @param {StateProof} proof
 * @param {Uint8Array} key
 * @param {Uint8Array | null} value
 * @param {Uint8Array} root
 */
export function verifyState(proof, key, value, root) {
  checkSiblings(proof);
  const position = hashTagged("state-key", key);
  let found = endOfPath(proof, position, value);
  let unused = proof.siblings.length;
  for (let depth = proof.depth - 1; depth >= 0; depth--) {
    const sibling = bit(proof.bitmap, depth) ? proof.siblings[--unused] : ZERO_HASH;
    found = bit(position, depth) ? nodeHash(sibling, found) : nodeHash(found, sibling);
  }
  if (!equal(found, root)) throw new ProofInvalid(STATE, "the path does not lead to the root");
}

/** @param {StateProof} proof */
function checkSiblings({ depth, bitmap, siblings }) {
  if (!(0 <= depth && depth <= STATE_DEPTH_MAX)) {
    throw new ProofInvalid(STATE, "the depth is not within 0 to 256");
  }
  if (bitmap.length !== (depth + 7) >> 3) {
    throw new ProofInvalid(STATE, "the bitmap has another length than the depth demands");
  }
  const bits = toBigInt(bitmap);
  if (bits & ((1n << BigInt(8 * bitmap.length - depth)) - 1n)) {
    throw new ProofInvalid(STATE, "a spare bit of the bitmap is set");
  }
  if (siblings.length !== bitCount(bits)) {
    throw new ProofInvalid(STATE, "the number of siblings is not that of the bits set");
  }
  if (siblings.some((sibling) => sibling.length !== 32 || equal(sibling, ZERO_HASH))) {
    throw new ProofInvalid(STATE, "a sibling is empty or not 32 bytes long");
  }
  if (depth > 0 && !bit(bitmap, depth - 1)) {
    throw new ProofInvalid(STATE, "the deepest sibling is empty, so the path ends higher up");
  }
}

/** @param {StateProof} proof @param {Uint8Array} position @param {Uint8Array | null} value */
function endOfPath({ other, depth }, position, value) {
  if (value !== null) {
    if (other !== null) {
      throw new ProofInvalid(STATE, "a proof of absence is offered for a value");
    }
    return leafHash(concat(position, sha256(value)));
  }
  if (other === null) return ZERO_HASH;
  const [place, valueHash] = other;
  if (place.length !== 32 || valueHash.length !== 32) {
    throw new ProofInvalid(STATE, "the other leaf's hashes are not 32 bytes long");
  }
  if (compare(place, position) === 0) {
    throw new ProofInvalid(STATE, "the other leaf is the key's own");
  }
  for (let level = 0; level < depth; level++) {
    if (bit(place, level) !== bit(position, level)) {
      throw new ProofInvalid(STATE, "the other leaf does not lie on the path");
    }
  }
  return leafHash(concat(place, valueHash));
}
