/**
 * What verified logs mean: a patient's complete list, a record, who read it.
 * @module
 */

import { equal, toHex } from "./bytes.js";
import * as codec from "./codec.js";
import { verifyDisclosure } from "./disclosure.js";
import { accessLog, decodeDisclosed, decodePatientEntry, patientLog, releaseLog } from "./entries.js";
import { EntryRefused, WrongView } from "./errors.js";
import { KNOWN_VIEW_VERSION } from "./limits.js";
import { verifyLogBundle, verifyLogEntryBundle } from "./verify.js";

/** @typedef {import("./bundles.js").LogBundle} LogBundle */
/** @typedef {import("./bundles.js").LogEntryBundle} LogEntryBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./disclosure.js").Disclosure} Disclosure */
/** @typedef {import("./disclosure.js").RecordField} RecordField */
/** @typedef {import("./entries.js").Row} Row */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */
/** @typedef {import("./verify.js").VerifiedLog} VerifiedLog */

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
 * @property {number} hiddenCount fields of the record that were not shown
 * @property {string} view what the holder calls this selection of fields
 * @property {bigint} version
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
  /** @type {{index: number, row: Row, name: string}[]} */
  const rows = [];
  // By hash: where the same row stands twice, a status is about both.
  /** @type {Map<string, {member: string, status: string | null}>} */
  const known = new Map();
  log.entries.forEach((data, index) => {
    const entry = decodePatientEntry(data);
    if (!equal(entry.patient, patient)) {
      throw new EntryRefused(index, "it belongs to another patient");
    }
    const changed = entry.kind === "row" ? entry.supersedes : entry.row;
    if (changed !== null) {
      const target = known.get(toHex(changed));
      if (target === undefined) {
        throw new EntryRefused(index, "it changes a row that does not come before it");
      }
      if (target.member !== entry.member) {
        throw new EntryRefused(index, "it changes a row of another hospital");
      }
      target.status = worse(target.status, entry.kind === "row" ? "superseded" : entry.status);
    }
    if (entry.kind === "row") {
      const name = toHex(entry.hash);
      rows.push({ index, row: entry, name });
      if (!known.has(name)) known.set(name, { member: entry.member, status: null });
    }
  });
  return {
    rows: rows.map(({ index, row, name }) => ({ index, row, status: known.get(name)?.status ?? null })),
    header: log.header,
  };
}

/** @param {string | null} before @param {string} status */
function worse(before, status) {
  const known = before === null ? -1 : SEVERITY.indexOf(before);
  return known >= SEVERITY.indexOf(status) ? before : status;
}

/** What `disclosure` shows of the record of a verified row. @param {ListedRow} listed @param {Disclosure} disclosure */
export function verifyRecord(listed, disclosure) {
  return recordUnder(listed.row.root, disclosure);
}

/**
 * The same for a root that the caller verified; throws ProofInvalid or WrongView.
 * @param {Uint8Array} root
 * @param {Disclosure} disclosure
 * @returns {VerifiedRecord}
 */
export function recordUnder(root, disclosure) {
  const { view, viewVersion: version, hidden } = disclosure;
  if (version !== KNOWN_VIEW_VERSION) {
    throw new WrongView(view, version, `version ${KNOWN_VIEW_VERSION}`);
  }
  return { fields: verifyDisclosure(disclosure, root), hiddenCount: hidden.length, view, version };
}

/**
 * A de-identified record whose root `holder` released.
 * @param {TrustedChain} trusted
 * @param {LogEntryBundle} bundle
 * @param {Disclosure} disclosure
 * @param {string} holder
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyDeidentified(trusted, bundle, disclosure, holder, nowMs, maxAgeMs) {
  const key = releaseLog(holder);
  const { entry } = await verifyLogEntryBundle(trusted, bundle, key, nowMs, maxAgeMs);
  return releasedRecord(entry, disclosure);
}

/**
 * The record behind a verified entry of a release log, which is its root.
 * @param {Uint8Array} entry
 * @param {Disclosure} disclosure
 */
export function releasedRecord(entry, disclosure) {
  const root = codec.sized(entry, 32, "Hash32");
  if (disclosure.view !== "deidentified") {
    throw new WrongView(disclosure.view, disclosure.viewVersion, "deidentified");
  }
  return recordUnder(root, disclosure);
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
