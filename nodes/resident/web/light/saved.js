/**
 * Saved proofs: one file that anyone with the genesis document can verify offline, for ever.
 *
 * A saved proof is not bounded in age: it shows what the chain held at its header, and the report
 * says when that was (LIGHT-3).
 * @module
 */

import {
  changesFromValue,
  decodeBundle,
  LogBundle,
  LogEntriesBundle,
  MembershipChange,
  StateBundle,
} from "./bundles.js";
import { equal, startsWith } from "./bytes.js";
import * as codec from "./codec.js";
import { Disclosure } from "./disclosure.js";
import { ACCESS_PREFIX, decodeDisclosed, PATIENT_PREFIX, RELEASE_PREFIX, viewKey } from "./entries.js";
import { DisclosureUnplaced, NotCanonical, WrongChain } from "./errors.js";
import {
  BUNDLE_BYTES_MAX,
  DISCLOSURE_BYTES_MAX,
  HEADER_AHEAD_MAX_MS,
  SAVED_PROOF_BYTES_MAX,
  STATE_KEY_BYTES_MAX,
  U64_MAX,
} from "./limits.js";
import { listOf, releasedRecord, ruleBook, verifyRecord } from "./records.js";
import { checkAge, follow, trustGenesis, verifyHeader } from "./trust.js";
import { logEntryUnder, logUnder, stateUnder } from "./verify.js";

/** @typedef {import("./bundles.js").LogEntryBundle} LogEntryBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./entries.js").Disclosed} Disclosed */
/** @typedef {import("./records.js").ListedRow} ListedRow */
/** @typedef {import("./records.js").PatientList} PatientList */
/** @typedef {import("./records.js").RuleBook} RuleBook */
/** @typedef {import("./records.js").VerifiedRecord} VerifiedRecord */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */
/** @typedef {import("./view_rules.js").ViewRules} ViewRules */
/** @typedef {import("./verify.js").VerifiedValue} VerifiedValue */
/** @typedef {import("./verify.js").VerifiedLog} VerifiedLog */
/** @typedef {import("./verify.js").VerifiedEntry} VerifiedEntry */

/** @typedef {StateBundle | LogBundle | LogEntryBundle} Provable */

/** Everything that was verified once, to be verified again by others. */
export class SavedProof {
  /**
   * @param {Uint8Array} chainId
   * @param {readonly MembershipChange[]} changes all from genesis up to the bundle's header
   * @param {Provable} bundle
   * @param {Disclosure | null} disclosure of one record in the bundle
   * @param {Uint8Array} key state key that the bundle is about
   * @param {StateBundle | null} rules hashes of the view's rules, with a disclosure
   */
  constructor(chainId, changes, bundle, disclosure, key, rules) {
    this.chainId = chainId;
    this.changes = changes;
    this.bundle = bundle;
    this.disclosure = disclosure;
    this.key = key;
    this.rules = rules;
  }

  encode() {
    return codec.encode([
      "saved-proof",
      this.chainId,
      this.changes.map((change) => change.toValue()),
      this.bundle.encode(),
      this.disclosure === null ? null : this.disclosure.encode(),
      this.key,
      this.rules === null ? null : this.rules.encode(),
    ]);
  }

  /** Nothing is verified here. @param {Uint8Array} data */
  static decode(data) {
    const value = codec.decode(data, SAVED_PROOF_BYTES_MAX, "saved proof");
    const fields = codec.array(value, 7, "saved proof");
    if (fields[0] !== "saved-proof") throw new NotCanonical("saved proof", "another kind of file");
    const bundle = decodeBundle(codec.binary(fields[3], "saved bundle", BUNDLE_BYTES_MAX));
    if (bundle instanceof MembershipChange || bundle instanceof LogEntriesBundle) {
      throw new NotCanonical("saved proof", "it holds one value, one list or one entry");
    }
    return new SavedProof(
      codec.hash32(fields[1], "saved chain id"),
      changesFromValue(fields[2]),
      bundle,
      fields[4] === null ? null
        : Disclosure.decode(codec.binary(fields[4], "saved disclosure", DISCLOSURE_BYTES_MAX)),
      codec.binary(fields[5], "saved key", STATE_KEY_BYTES_MAX),
      fields[6] === null ? null : rulesBundle(fields[6]),
    );
  }
}

/** @param {codec.Value} value */
function rulesBundle(value) {
  const bundle = decodeBundle(codec.binary(value, "saved rules", BUNDLE_BYTES_MAX));
  if (!(bundle instanceof StateBundle)) {
    throw new NotCanonical("saved proof", "its rules are no state value");
  }
  return bundle;
}

/**
 * What a saved proof proves.
 * @typedef {object} SavedProofReport
 * @property {Uint8Array} key
 * @property {Header} header the certified header under which it holds
 * @property {bigint | null} ageMs age of that header; null where the caller gave no time
 * @property {VerifiedValue | VerifiedLog | VerifiedEntry} proved
 * @property {PatientList | null} patientList the complete list, where `key` is a patient's log
 * @property {readonly Disclosed[] | null} accesses the complete access log, where `key` is one
 * @property {ListedRow | null} row the row to which `record` belongs, in a patient's list
 * @property {VerifiedRecord | null} record the disclosed fields, where there is a disclosure
 */

/**
 * Verifies everything in a saved proof, from the genesis document alone (LIGHT-1).
 *
 * Checks, in this order: form; chain id; membership changes and header; that the header is not of
 * the future, where `nowMs` is given; content; that the disclosure belongs to it.
 * @param {Uint8Array} genesisBytes
 * @param {Uint8Array} data
 * @param {bigint | null} nowMs
 * @param {readonly ViewRules[]} knownRules rule files of views
 * @returns {Promise<SavedProofReport>}
 */
export async function verifySavedProof(genesisBytes, data, nowMs, knownRules) {
  const saved = SavedProof.decode(data);
  const trusted = trustGenesis(genesisBytes, null);
  if (!equal(saved.chainId, trusted.chainId)) {
    throw new WrongChain("saved proof", saved.chainId, trusted.chainId);
  }
  const { bundle, key } = saved;
  const { certified } = bundle instanceof StateBundle ? bundle : bundle.state;
  const voters = await follow(trusted, saved.changes);
  const header = await verifyHeader(voters, certified);
  const ageMs = nowMs === null ? null
    : checkAge(header, nowMs, U64_MAX, BigInt(HEADER_AHEAD_MAX_MS));
  const opened = await openedOf(saved, voters, knownRules);
  const nothing = { patientList: null, accesses: null, row: null, record: null };
  const known = { ...nothing, key, header, ageMs };
  if (bundle instanceof LogBundle) {
    const proved = logUnder(header, bundle, key);
    return { ...known, proved, ...logContent(key, proved, opened) };
  }
  if (!(bundle instanceof StateBundle)) {
    const proved = logEntryUnder(header, bundle, key);
    return { ...known, proved, record: entryRecord(key, proved, opened) };
  }
  const proved = stateUnder(header, bundle, key);
  if (opened !== null) {
    throw new DisclosureUnplaced("a state value has no record that could be disclosed");
  }
  return { ...known, proved };
}

/**
 * A disclosure, and the rules of its view that the chain holds.
 * @typedef {{disclosure: Disclosure, book: RuleBook}} Opened
 */

/**
 * The disclosure, if there is one, with the rules of its view as the chain holds them.
 * @param {SavedProof} saved
 * @param {TrustedChain} voters
 * @param {readonly ViewRules[]} knownRules
 * @returns {Promise<Opened | null>}
 */
async function openedOf({ disclosure, rules }, voters, knownRules) {
  if (disclosure === null || rules === null) {
    if (disclosure !== null || rules !== null) {
      throw new DisclosureUnplaced("a disclosure and the rules of its view come together");
    }
    return null;
  }
  const header = await verifyHeader(voters, rules.certified);
  const { value } = stateUnder(header, rules, viewKey(disclosure.view));
  return { disclosure, book: ruleBook(disclosure.view, value, knownRules) };
}

/** @param {Uint8Array} key @param {VerifiedLog} log @param {Opened | null} opened */
function logContent(key, log, opened) {
  const patientList = startsWith(key, PATIENT_PREFIX)
    ? listOf(log, codec.sized(key.subarray(PATIENT_PREFIX.length), 32, "PatientKey"))
    : null;
  const accesses = startsWith(key, ACCESS_PREFIX) ? log.entries.map(decodeDisclosed) : null;
  if (opened === null) return { patientList, accesses };
  return { patientList, accesses, ...openListed(patientList, opened) };
}

/** @param {PatientList | null} listed @param {Opened} opened */
function openListed(listed, { disclosure, book }) {
  // Only finds the row, at the cost of one verification; `verifyRecord` decides.
  const { root } = disclosure.leaves();
  for (const row of listed?.rows ?? []) {
    if (!equal(row.row.root, root)) continue;
    return { row, record: verifyRecord(row, disclosure, book.of(disclosure.rules)) };
  }
  throw new DisclosureUnplaced("the disclosed record is of no row in a patient's list");
}

/** @param {Uint8Array} key @param {VerifiedEntry} entry @param {Opened | null} opened */
function entryRecord(key, entry, opened) {
  if (opened === null) return null;
  // A row alone says nothing of its status: its record needs the complete list.
  if (!startsWith(key, RELEASE_PREFIX)) {
    throw new DisclosureUnplaced("one entry proves a record only in a log of releases");
  }
  return releasedRecord(entry.entry, opened.disclosure, opened.book);
}
