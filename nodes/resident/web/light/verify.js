/**
 * Verifies proof bundles: one state value, one complete log, one entry of a log.
 *
 * Each `verify...Bundle` checks the header first (`verifyHeader`), then its age (LIGHT-3), then the
 * content, whose checks alone are the functions named `...Under`.
 * @module
 */

import { equal } from "./bytes.js";
import { LogEntriesBundle } from "./bundles.js";
import { decodeLogRoot } from "./entries.js";
import { ListIncomplete, ProofInvalid, WrongKey } from "./errors.js";
import { leafHash, rootOf, verifyInclusion, verifyState } from "./merkle.js";
import { checkAge, verifyHeader } from "./trust.js";

/** @typedef {import("./bundles.js").StateBundle} StateBundle */
/** @typedef {import("./bundles.js").LogBundle} LogBundle */
/** @typedef {import("./bundles.js").LogEntryBundle} LogEntryBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */

/** @typedef {{value: Uint8Array | null, header: Header}} VerifiedValue null: the key is absent */
/** @typedef {{entries: readonly Uint8Array[], header: Header}} VerifiedLog */
/** @typedef {{index: bigint, entry: Uint8Array, count: bigint, header: Header}} VerifiedEntry */

/**
 * The value of `key`, or its proved absence.
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Uint8Array} key
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyStateBundle(trusted, bundle, key, nowMs, maxAgeMs) {
  return stateUnder(await freshHeader(trusted, bundle, nowMs, maxAgeMs), bundle, key);
}

/**
 * All entries of the log at `logKey`: complete, in order, nothing added (LIGHT-2).
 * @param {TrustedChain} trusted
 * @param {LogBundle} bundle
 * @param {Uint8Array} logKey
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyLogBundle(trusted, bundle, logKey, nowMs, maxAgeMs) {
  return logUnder(await freshHeader(trusted, bundle.state, nowMs, maxAgeMs), bundle, logKey);
}

/**
 * One entry of the log at `logKey`, at the place that it claims.
 * @param {TrustedChain} trusted
 * @param {LogEntryBundle} bundle
 * @param {Uint8Array} logKey
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyLogEntryBundle(trusted, bundle, logKey, nowMs, maxAgeMs) {
  return logEntryUnder(await freshHeader(trusted, bundle.state, nowMs, maxAgeMs), bundle, logKey);
}

/**
 * Some entries of the log at `logKey`, by rising index.
 * @param {TrustedChain} trusted
 * @param {LogEntriesBundle} bundle
 * @param {Uint8Array} logKey
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyLogEntriesBundle(trusted, bundle, logKey, nowMs, maxAgeMs) {
  return logEntriesUnder(await freshHeader(trusted, bundle.state, nowMs, maxAgeMs), bundle, logKey);
}

/** @param {Header} header a verified one @param {StateBundle} bundle @param {Uint8Array} key @returns {VerifiedValue} */
export function stateUnder(header, bundle, key) {
  if (!equal(bundle.key, key)) throw new WrongKey("state bundle");
  verifyState(bundle.proof, key, bundle.value, header.stateRoot);
  return { value: bundle.value, header };
}

/**
 * Checks, cheap ones first: the state value, and that it is a log's; as many entries as it counts:
 * ListIncomplete; the root over all entries: ProofInvalid.
 * @param {Header} header a verified one
 * @param {LogBundle} bundle
 * @param {Uint8Array} logKey
 * @returns {VerifiedLog}
 */
export function logUnder(header, bundle, logKey) {
  const { value } = stateUnder(header, bundle.state, logKey);
  const { entries } = bundle;
  if (value === null) {
    if (entries.length > 0) throw new ListIncomplete(entries.length, 0n);
    return { entries: [], header };
  }
  const { count, root } = decodeLogRoot(value);
  if (BigInt(entries.length) !== count) throw new ListIncomplete(entries.length, count);
  if (!equal(rootOf(entries.map(leafHash)), root)) {
    throw new ProofInvalid("log", "the entries do not give the root that the chain holds");
  }
  return { entries, header };
}

/** @param {Header} header a verified one @param {LogEntryBundle} bundle @param {Uint8Array} logKey */
export function logEntryUnder(header, bundle, logKey) {
  const alone = new LogEntriesBundle(bundle.state, [bundle.item]);
  return logEntriesUnder(header, alone, logKey)[0];
}

/**
 * Checks, cheap ones first: the state value, and that it is a log's; the indexes rise, so that none
 * is given twice; each entry's inclusion at its index.
 * @param {Header} header a verified one
 * @param {LogEntriesBundle} bundle
 * @param {Uint8Array} logKey
 * @returns {VerifiedEntry[]}
 */
export function logEntriesUnder(header, bundle, logKey) {
  const { value } = stateUnder(header, bundle.state, logKey);
  const { items } = bundle;
  if (value === null) {
    if (items.length > 0) throw new ProofInvalid("log entry", "the log is absent");
    return [];
  }
  const { count, root } = decodeLogRoot(value);
  if (items.some(([index], i) => i > 0 && items[i - 1][0] >= index)) {
    throw new ProofInvalid("log entries", "the indexes do not rise");
  }
  for (const [index, entry, path] of items) verifyInclusion(entry, index, count, path, root);
  return items.map(([index, entry]) => ({ index, entry, count, header }));
}

/** @param {TrustedChain} trusted @param {StateBundle} bundle @param {bigint} nowMs @param {bigint} maxAgeMs */
async function freshHeader(trusted, bundle, nowMs, maxAgeMs) {
  const header = await verifyHeader(trusted, bundle.certified);
  checkAge(header, nowMs, maxAgeMs);
  return header;
}
