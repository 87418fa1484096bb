/**
 * Questions to the gateway that served this page. Nothing that comes back is trusted here.
 * @module
 */

import { fromHex, toHex } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import { Failure, Refused } from "./failures.js";

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/**
 * @param {string} target path with its query
 * @param {RequestInit} [options]
 */
export async function request(target, options = {}) {
  let answer;
  try {
    answer = await fetch(target, {
      ...options,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch {
    throw new Failure("unreachable");
  }
  if (!answer.ok) throw await refusal(answer);
  if (Number(answer.headers.get("Content-Length")) > ANSWER_BYTES_MAX) {
    throw new Failure("unreadable");
  }
  return answer;
}

/** @param {Response} answer */
async function refusal(answer) {
  const body = await answer.json().catch(() => null);
  const code = typeof body?.code === "string" ? body.code : `http/${answer.status}`;
  if (code === "share/wrong-passcode") {
    return new Failure("share/wrong-passcode", { left: Number(body.remainingAttempts) });
  }
  return new Refused(code, answer.status);
}

/** @param {string} target @param {RequestInit} [options] */
export async function getBytes(target, options) {
  const answer = await request(target, options);
  try {
    return new Uint8Array(await answer.arrayBuffer());
  } catch {
    throw new Failure("unreachable");
  }
}

/** @param {string} target @param {RequestInit} [options] @returns {Promise<Record<string, unknown>>} */
export async function getJson(target, options) {
  const answer = await request(target, options);
  const value = await answer.json().catch(() => null);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Failure("unreadable");
  }
  return value;
}

/** @param {string} target @param {Readonly<Record<string, string>>} body */
export function postJson(target, body) {
  const headers = { "Content-Type": "application/json" };
  return getJson(target, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Hands over one signed transaction. @param {Uint8Array} encoded */
export async function submit(encoded) {
  const answer = await getJson("/v1/chain/transactions", {
    method: "POST",
    headers: { "Content-Type": "application/msgpack" },
    body: codec.encode([encoded]),
  });
  const result = Array.isArray(answer.results) ? answer.results[0] : null;
  if (result?.status !== "accepted") throw new Refused(String(result?.code), 0);
}

/**
 * The receipt's code and fields once the transaction is committed: the server's word.
 * @param {Uint8Array} id
 */
export async function receipt(id) {
  const target = `/v1/chain/transactions/${toHex(id)}?wait=10000`;
  for (let round = 0; round < COMMIT_ROUNDS; round++) {
    const state = await getJson(target);
    if (state.status !== "committed") {
      await pause(200); // a server that does not wait must not be hammered
      continue;
    }
    const encoded = /** @type {{encoded?: unknown} | undefined} */ (state.receipt)?.encoded;
    if (typeof encoded !== "string") throw new Failure("unreadable");
    const fields = codec.array(codec.decode(fromHex(encoded), 65_536, "receipt"), 3, "receipt");
    return { code: codec.text(fields[1], "receipt code", 64), fields: codec.asArray(fields[2]) ?? [] };
  }
  throw new Failure("not-committed");
}

const COMMIT_ROUNDS = 12;

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
