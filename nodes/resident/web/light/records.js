/**
 * What verified logs mean: a patient's complete list, a record, who read it.
 * @module
 */

import { equal, toHex } from "./bytes.js";
import * as codec from "./codec.js";
import { fieldLeaf, verifyDisclosure } from "./disclosure.js";
import {
  accessLog,
  decodeDisclosed,
  decodePatientEntry,
  decodeViewHashes,
  patientLog,
  releaseLog,
} from "./entries.js";
import { AgainstRules, EntryRefused, ProofInvalid, UnknownRules, WrongView } from "./errors.js";
import { verifyLogBundle, verifyLogEntryBundle } from "./verify.js";
import { byPath, kindOf, split } from "./view_rules.js";

/** @typedef {import("./bundles.js").LogBundle} LogBundle */
/** @typedef {import("./bundles.js").LogEntryBundle} LogEntryBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./disclosure.js").Disclosure} Disclosure */
/** @typedef {import("./disclosure.js").RecordField} RecordField */
/** @typedef {import("./entries.js").Row} Row */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */
/** @typedef {import("./verify.js").VerifiedLog} VerifiedLog */
/** @typedef {import("./view_rules.js").ViewRules} ViewRules */

/**
 * One row of a patient's complete list.
 * @typedef {object} ListedRow
 * @property {number} index place in the patient's log; requests for the record name it
 * @property {Row} row
 * @property {string | null} status null while valid as it stands; else the most severe one recorded
 */

/** @typedef {{rows: readonly ListedRow[], header: Header}} PatientList */

/**
 * What a disclosure shows of one record, every field verified against the chain.
 * @typedef {object} VerifiedRecord
 * @property {readonly RecordField[]} fields
 * @property {readonly Uint8Array[]} hidden leaves of the fields that were not shown
 * @property {number} hiddenCount
 * @property {readonly string[]} hidingRules ids of the rules that can hide something of such a record;
 *   where there is one, each hidden field is hidden by it; else `hidingRule` tells, from a full copy
 * @property {string} view
 * @property {bigint} version of the view's rules, whose hash the chain holds
 */

const SEVERITY = ["superseded", "entered-in-error", "erased"];

/**
 * All rows of `patient` with their status (LIGHT-1, LIGHT-2, LIGHT-3).
 * @param {TrustedChain} trusted
 * @param {LogBundle} bundle
 * @param {Uint8Array} patient
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyPatientList(trusted, bundle, patient, nowMs, maxAgeMs) {
  return listOf(
    await verifyLogBundle(trusted, bundle, patientLog(patient), nowMs, maxAgeMs),
    patient,
  );
}

/**
 * The rows in a verified log of a patient, statuses applied. Throws EntryRefused for an entry of
 * another patient, or about a row that is not an earlier one of the same hospital.
 * @param {VerifiedLog} log
 * @param {Uint8Array} patient
 * @returns {PatientList}
 */
export function listOf(log, patient) {
  /** @type {{index: number, row: Row}[]} */
  const rows = [];
  // By hash: where the same row stands twice, a status is about both.
  /** @type {Map<string, {member: string, status: string | null}>} */
  const known = new Map();
  /** @type {string[]} names in `known` of the first rows; none are needed until one is changed */
  const names = [];
  const nameRows = () => {
    for (const { row } of rows.slice(names.length)) {
      const name = toHex(row.hash);
      names.push(name);
      if (!known.has(name)) known.set(name, { member: row.member, status: null });
    }
  };
  log.entries.forEach((data, index) => {
    const entry = decodePatientEntry(data);
    if (!equal(entry.patient, patient)) {
      throw new EntryRefused(index, "it belongs to another patient");
    }
    const changed = entry.kind === "row" ? entry.supersedes : entry.row;
    if (changed !== null) {
      nameRows();
      const target = known.get(toHex(changed));
      if (target === undefined) {
        throw new EntryRefused(index, "it changes a row that does not come before it");
      }
      if (target.member !== entry.member) {
        throw new EntryRefused(index, "it changes a row of another hospital");
      }
      target.status = worse(target.status, entry.kind === "row" ? "superseded" : entry.status);
    }
    if (entry.kind === "row") rows.push({ index, row: entry });
  });
  if (known.size > 0) nameRows();
  return {
    rows: rows.map((each, i) => ({ ...each, status: known.get(names[i] ?? "")?.status ?? null })),
    header: log.header,
  };
}

/** @param {string | null} before @param {string} status */
function worse(before, status) {
  const known = before === null ? -1 : SEVERITY.indexOf(before);
  return known >= SEVERITY.indexOf(status) ? before : status;
}

/** The rules of one view that the chain holds and this program knows. */
export class RuleBook {
  /** @type {ReadonlyMap<string, ViewRules>} */
  #known;

  /**
   * Throws WrongView where a file is of another view or version than the chain says.
   * @param {string} view
   * @param {readonly Uint8Array[]} hashes a verified value of `viewKey(view)`; the last is in force
   * @param {readonly ViewRules[]} known
   */
  constructor(view, hashes, known) {
    this.view = view;
    this.hashes = hashes;
    this.#known = new Map(known.map((rules) => [toHex(rules.hash), rules]));
    hashes.forEach((digest, i) => {
      const rules = this.#known.get(toHex(digest));
      if (rules && (rules.view !== view || rules.version !== BigInt(i + 1))) {
        throw new WrongView(rules.view, digest, `${view} version ${i + 1}`);
      }
    });
  }

  /** The newest rules; throws UnknownRules. */
  get inForce() {
    const newest = this.hashes.at(-1);
    if (newest === undefined) throw new UnknownRules(this.view, new Uint8Array(32));
    return this.of(newest);
  }

  /** Rules that are, or were once, in force. @param {Uint8Array} digest */
  of(digest) {
    if (!this.hashes.some((each) => equal(each, digest))) {
      throw new WrongView(this.view, digest, "one that the chain holds");
    }
    const rules = this.#known.get(toHex(digest));
    if (rules === undefined) throw new UnknownRules(this.view, digest);
    return rules;
  }
}

/**
 * The rules of a view, from the verified value of `viewKey(view)`.
 * @param {string} view
 * @param {Uint8Array | null} value
 * @param {readonly ViewRules[]} known
 */
export function ruleBook(view, value, known) {
  return new RuleBook(view, value === null ? [] : decodeViewHashes(value), known);
}

/**
 * What `disclosure` shows of the record of a verified row, by these rules and no others.
 * @param {ListedRow} listed
 * @param {Disclosure} disclosure
 * @param {ViewRules} rules
 */
export function verifyRecord(listed, disclosure, rules) {
  return recordUnder(listed.row.root, disclosure, rules);
}

/**
 * The same for a root that the caller verified. Checks, in this order: view and rules (WrongView);
 * leaves, root and dependencies (ProofInvalid); that each shown field is one that the rules show, in
 * the form they ask for, and that nothing is hidden where no rule hides (AgainstRules).
 * @param {Uint8Array} root
 * @param {Disclosure} disclosure
 * @param {ViewRules} rules
 * @returns {VerifiedRecord}
 */
export function recordUnder(root, disclosure, rules) {
  const { view, version } = rules;
  if (disclosure.view !== view || !equal(disclosure.rules, rules.hash)) {
    throw new WrongView(disclosure.view, disclosure.rules, `${view} version ${version}`);
  }
  const fields = verifyDisclosure(disclosure, root);
  const values = byPath(fields);
  const kind = kindOf(values);
  if (!fields.every(({ path }) => rules.shows(kind, path) && rules.allows(kind, path, values))) {
    throw new AgainstRules(view, version, "a field is shown that it hides");
  }
  const hidingRules = rules.hiding(kind);
  const { hidden } = disclosure;
  if (hidden.length > 0 && hidingRules.length === 0) {
    throw new AgainstRules(view, version, "a field is hidden that it shows");
  }
  return { fields, hidden, hiddenCount: hidden.length, hidingRules, view, version };
}

/**
 * Path of each hidden field, and the id of the rule that hides it, from a full copy: a verified
 * disclosure of the same record that shows these fields too.
 * @param {VerifiedRecord} record
 * @param {Disclosure} fullCopy
 * @param {ViewRules} rules
 */
export function hidingRule(record, fullCopy, rules) {
  const kind = kindOf(byPath(fullCopy.shown));
  const paths = new Map(fullCopy.shown.map((field) => [toHex(fieldLeaf(field)), field.path]));
  return record.hidden.map((leaf) => {
    const path = paths.get(toHex(leaf));
    if (path === undefined) {
      throw new ProofInvalid("full copy", "it does not show a field that was hidden");
    }
    if (rules.shows(kind, path)) {
      throw new AgainstRules(rules.view, rules.version, "a field is hidden that it shows");
    }
    return { path, rule: rules.decide(kind, split(path).exact).rule };
  });
}

/**
 * A de-identified record whose root `holder` released.
 * @param {TrustedChain} trusted
 * @param {LogEntryBundle} bundle
 * @param {Disclosure} disclosure
 * @param {string} holder
 * @param {RuleBook} book of the view "deidentified"
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyDeidentified(
  trusted,
  bundle,
  disclosure,
  holder,
  book,
  nowMs,
  maxAgeMs,
) {
  const key = releaseLog(holder);
  const { entry } = await verifyLogEntryBundle(trusted, bundle, key, nowMs, maxAgeMs);
  return releasedRecord(entry, disclosure, book);
}

/**
 * The record behind a verified entry of a release log, which is its root. It was made by the rules
 * that were in force then.
 * @param {Uint8Array} entry
 * @param {Disclosure} disclosure
 * @param {RuleBook} book
 */
export function releasedRecord(entry, disclosure, book) {
  const root = codec.sized(entry, 32, "Hash32");
  if (disclosure.view !== "deidentified" || book.view !== "deidentified") {
    throw new WrongView(disclosure.view, disclosure.rules, "deidentified");
  }
  return recordUnder(root, disclosure, book.of(disclosure.rules));
}

/**
 * Everyone who was shown something of `patient`, oldest first (ACC-1).
 * @param {TrustedChain} trusted
 * @param {LogBundle} bundle
 * @param {Uint8Array} patient
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyAccessLog(trusted, bundle, patient, nowMs, maxAgeMs) {
  const log = await verifyLogBundle(trusted, bundle, accessLog(patient), nowMs, maxAgeMs);
  return log.entries.map(decodeDisclosed);
}
