/**
 * The key of this device: it never leaves it, and signs transactions and requests.
 * @module
 */

import { concat, fromHex, toBigInt, toHex, u64, utf8 } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import { hashTagged, preimage } from "../light/hashing.js";
import { PublicKey } from "../light/index.js";
import { PROTOCOL_VERSION } from "../light/limits.js";

/** @typedef {import("./store.js").Identity} Identity */
/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const SIGN = { name: "ECDSA", hash: "SHA-256" };
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const SUITE_P256 = Uint8Array.of(1);
const VERSION = Uint8Array.of(PROTOCOL_VERSION);

/** H(tag, parts...), for the tags that the light client has no use for. @type {(tag: string, ...parts: Uint8Array[]) => Bytes} */
export const hash = /** @type {any} */ (hashTagged);
/** @type {(tag: string, ...parts: Uint8Array[]) => Bytes} */
const hashed = /** @type {any} */ (preimage);

/** A key pair whose private half cannot be read, not even by this page. */
export async function makeKey() {
  const pair = await crypto.subtle.generateKey(P256, false, ["sign", "verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  const publicKey = concat(SUITE_P256, spki);
  return { pair, publicKey, keyId: toHex(PublicKey.decode(publicKey).keyId) };
}

/**
 * The signature of H(tag, version, chain id, parts...): suite byte, r and the lower s.
 * @param {CryptoKeyPair} pair
 * @param {string} tag
 * @param {Uint8Array} chainId
 * @param {...Uint8Array} parts
 */
export async function sign(pair, tag, chainId, ...parts) {
  const signed = hashed(tag, VERSION, chainId, ...parts);
  const made = new Uint8Array(await crypto.subtle.sign(SIGN, pair.privateKey, signed));
  const s = toBigInt(made.subarray(32));
  const low = s > ORDER / 2n ? ORDER - s : s;
  return concat(SUITE_P256, made.subarray(0, 32), fromHex(low.toString(16).padStart(64, "0")));
}

/** Six digits that the person and the registrar compare. @param {string} keyId hex */
export function checkDigits(keyId) {
  return String(Number.parseInt(keyId.slice(0, 8), 16) % 1_000_000).padStart(6, "0");
}

/**
 * Headers that show who asks; good once and for a minute.
 * @param {Identity} identity
 * @param {string} method
 * @param {string} target path with its query, exactly as it is sent
 * @param {number} nowMs
 */
export async function requestHeaders(identity, method, target, nowMs) {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const signature = await sign(
    identity.pair,
    "sign-api-request",
    identity.chainId,
    utf8(method),
    utf8(target),
    hash("api-body", new Uint8Array()),
    u64(BigInt(nowMs)),
    nonce,
  );
  return {
    "Yilian-Key": identity.keyId,
    "Yilian-Time": String(nowMs),
    "Yilian-Nonce": toHex(nonce),
    "Yilian-Signature": toHex(signature),
  };
}

/**
 * A signed transaction and its id.
 * @param {Identity} identity
 * @param {string} contract
 * @param {string} action
 * @param {readonly codec.Value[]} args
 * @param {bigint} validUntil last height at which it may be executed
 */
export async function signTransaction(identity, contract, action, args, validUntil) {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const keyId = fromHex(identity.keyId);
  const body = codec.encode([
    BigInt(PROTOCOL_VERSION), identity.chainId, contract, action, args, keyId, nonce, validUntil,
  ]);
  const id = hash("transaction", body);
  const signature = await sign(identity.pair, "sign-transaction", identity.chainId, id);
  return { id, encoded: codec.encode([body, signature]) };
}
