/**
 * What covered each disclosure: the permission or share that its entry names, looked up and judged.
 * @module
 */

import { toHex } from "../light/bytes.js";
import { certificateOf, grantKey } from "../light/index.js";
import { explain } from "./failures.js";

/** @typedef {import("../light/entries.js").Disclosed} Disclosed */
/** @typedef {import("../light/permissions.js").PermissionCertificate} PermissionCertificate */
/** @typedef {import("../light/verify.js").VerifiedValue} VerifiedValue */
/** @typedef {import("./session.js").Session} Session */

/** @typedef {PermissionCertificate | {failure: string}} Covered the certificate, or in words why there is none */

/** Questions that wait for an answer at a time. */
const AT_ONCE = 6;

/**
 * For each entry of a verified access log, in its order; one question for each permission or share.
 * What cannot be verified is told of its own entries and hides no others.
 * @param {Session} session
 * @param {Uint8Array} patient
 * @param {readonly Disclosed[]} entries
 * @returns {Promise<Covered[]>}
 */
export async function certificates(session, patient, entries) {
  const keys = new Map(entries.map((entry) => [toHex(grantKey(entry)), grantKey(entry)]));
  /** @type {Map<string, VerifiedValue | {failure: string}>} */
  const found = new Map();
  const waiting = [...keys];
  const ask = async () => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [name, key] = next;
      found.set(name, await session.proved(key).catch((error) => ({ failure: explain(error) })));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  return entries.map((entry) => {
    const value = /** @type {VerifiedValue | {failure: string}} */ (found.get(toHex(grantKey(entry))));
    if ("failure" in value) return value;
    try {
      return certificateOf(value, entry, patient);
    } catch (error) {
      return { failure: explain(error) };
    }
  });
}
