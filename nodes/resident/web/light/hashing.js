/**
 * Hashing: H(tag, parts...) is SHA-256 over the tag and the parts, each after its length in 4 bytes.
 *
 * The hash function is that of @noble/hashes, because WebCrypto's is asynchronous: a list of ten
 * thousand entries needs twenty thousand of them.
 * @module
 */

import { sha256 } from "../vendor/noble-hashes/sha2.js";
import { utf8 } from "./bytes.js";
import { PROTOCOL_VERSION } from "./limits.js";

export { sha256 };

/** @typedef {"genesis" | "key" | "membership" | "header" | "state-key" | "row" | "field" | "view-rules" | "sign-commit" | "share-link" | "share-passcode" | "share-content"} Tag */

/** The bytes whose SHA-256 is H(tag, parts...). @param {Tag} tag @param {Uint8Array[]} parts */
export function preimage(tag, ...parts) {
  const pieces = [utf8(tag), ...parts];
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + 4 + piece.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const piece of pieces) {
    view.setUint32(at, piece.length);
    bytes.set(piece, at + 4);
    at += 4 + piece.length;
  }
  return bytes;
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
