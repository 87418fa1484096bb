/**
 * Hashing: H(tag, parts...) is SHA-256 over the tag and the parts, each after its length in 4 bytes.
 *
 * The hash function is that of @noble/hashes, because WebCrypto's is asynchronous: a list of ten
 * thousand entries needs twenty thousand of them.
 * @module
 */

import { sha256 } from "../vendor/noble-hashes/sha2.js";
import { concat, u32, utf8 } from "./bytes.js";
import { PROTOCOL_VERSION } from "./limits.js";

export { sha256 };

/** @typedef {"genesis" | "key" | "membership" | "header" | "state-key" | "row" | "field" | "sign-commit"} Tag */

/** The bytes whose SHA-256 is H(tag, parts...). @param {Tag} tag @param {Uint8Array[]} parts */
export function preimage(tag, ...parts) {
  const pieces = [utf8(tag), ...parts];
  return concat(...pieces.flatMap((piece) => [u32(piece.length), piece]));
}

/** H(tag, parts...). @param {Tag} tag @param {Uint8Array[]} parts */
export function hashTagged(tag, ...parts) {
  return sha256(preimage(tag, ...parts));
}

/**
 * The bytes whose SHA-256 is signed; WebCrypto hashes them itself.
 * @param {Tag} tag
 * @param {Uint8Array} chainId
 * @param {Uint8Array[]} parts
 */
export function signingPreimage(tag, chainId, ...parts) {
  return preimage(tag, Uint8Array.of(PROTOCOL_VERSION), chainId, ...parts);
}
