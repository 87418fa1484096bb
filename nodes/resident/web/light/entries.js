/**
 * What is appended to the provable logs, and the state keys under which each log's root lies.
 * @module
 */

import { concat, utf8 } from "./bytes.js";
import * as codec from "./codec.js";
import { NotCanonical } from "./errors.js";
import { hashTagged } from "./hashing.js";
import {
  ENTRY_BYTES_MAX,
  ROWS_PER_TRANSACTION_MAX,
  SEALED_BYTES_MAX,
  VIEW_VERSIONS_MAX,
} from "./limits.js";

export const STATUSES = ["entered-in-error", "erased", "superseded"];
export const BASES = ["break-glass", "permission", "share"];
export const VIEWS = ["clinical", "deidentified", "resident"];
export const PURPOSES = ["ETREAT", "HRESCH", "PATRQT", "TREAT"];
export const PATIENT_PREFIX = utf8("patient/");
export const ACCESS_PREFIX = utf8("access/");
export const RELEASE_PREFIX = utf8("release/");

/** State key of the log of a patient's rows. @param {Uint8Array} patient */
export function patientLog(patient) {
  return concat(PATIENT_PREFIX, patient);
}

/** State key of the log of disclosures of a patient's records. @param {Uint8Array} patient */
export function accessLog(patient) {
  return concat(ACCESS_PREFIX, patient);
}

/** State key of the log of a hospital's de-identified roots. @param {string} member */
export function releaseLog(member) {
  return concat(RELEASE_PREFIX, utf8(member));
}

/** State key that exists only where a row was superseded, entered in error or erased. @param {Uint8Array} rowHash */
export function rowStatus(rowHash) {
  return concat(utf8("row/"), rowHash, utf8("/status"));
}

/** State key of a registered key. @param {Uint8Array} keyId */
export function userKey(keyId) {
  return concat(utf8("key/"), keyId);
}

/** State key of a committed permission. @param {Uint8Array} permission */
export function permissionKey(permission) {
  return concat(utf8("permission/"), permission);
}

/** State key of a member's record. @param {string} member */
export function memberKey(member) {
  return utf8(`member/${member}`);
}

/** State key of the hashes of a view's rule files. @param {string} view */
export function viewKey(view) {
  return utf8(`view/${view}`);
}

/** Hashes of versions 1, 2, ...; the last is in force. @param {Uint8Array} data */
export function decodeViewHashes(data) {
  const what = "view hashes";
  const value = codec.decode(data, 64 * VIEW_VERSIONS_MAX, what);
  return codec.arrayUpTo(value, VIEW_VERSIONS_MAX, what).map((item) => codec.hash32(item, what));
}

/**
 * One record in the index: minimal, nothing in clear.
 * @typedef {object} Row
 * @property {"row"} kind
 * @property {string} member the hospital that holds the record
 * @property {Uint8Array} patient
 * @property {Uint8Array} root commitment root of the record
 * @property {bigint} epoch of the group key under which the metadata are sealed
 * @property {Uint8Array} sealed kind, code, effective time and locator, for the hospitals
 * @property {Uint8Array | null} supersedes hash of the row that this one replaces
 * @property {Uint8Array} hash H("row", bytes)
 */

/**
 * A row of the same patient and hospital is no longer valid as it stands.
 * @typedef {object} StatusChange
 * @property {"status"} kind
 * @property {string} member
 * @property {Uint8Array} patient
 * @property {Uint8Array} row hash of the row it is about
 * @property {string} status one of STATUSES
 */

/** An entry of a patient's log. @param {Uint8Array} data @returns {Row | StatusChange} */
export function decodePatientEntry(data) {
  const value = codec.decode(data, ENTRY_BYTES_MAX, "patient log entry");
  if (codec.asArray(value)?.[0] === 1n) return statusChange(value);
  const fields = codec.array(value, 7, "row");
  if (fields[0] !== 0n) throw new NotCanonical("patient log entry", "unknown kind");
  return {
    kind: "row",
    member: codec.memberId(fields[1], "row member"),
    patient: codec.hash32(fields[2], "row patient", "PatientKey"),
    root: codec.hash32(fields[3], "row root"),
    epoch: codec.uint(fields[4], "row epoch"),
    sealed: codec.binary(fields[5], "row sealed metadata", SEALED_BYTES_MAX),
    supersedes: fields[6] === null ? null : codec.hash32(fields[6], "superseded row"),
    // The bytes are the only ones of this row: ``decode`` takes no others. Most lists ask for no
    // hash, and hashing is what costs a long list most.
    get hash() {
      return hashTagged("row", data);
    },
  };
}

/** @param {codec.Value} value @returns {StatusChange} */
function statusChange(value) {
  const fields = codec.array(value, 5, "status change");
  const status = codec.text(fields[4], "status", 32);
  if (!STATUSES.includes(status)) {
    const reason = `${codec.quoted(status)} is none of ${STATUSES.join(", ")}`;
    throw new NotCanonical("status", reason);
  }
  return {
    kind: "status",
    member: codec.memberId(fields[1], "status member"),
    patient: codec.hash32(fields[2], "status patient", "PatientKey"),
    row: codec.hash32(fields[3], "status row"),
    status,
  };
}

/**
 * One entry of a patient's access log: these rows went to this reader for this purpose.
 * @typedef {object} Disclosed
 * @property {string} basis one of BASES; break-glass: an emergency, against the patient's directives
 * @property {Uint8Array} permission id of the permission, or of the share
 * @property {Uint8Array} reader for a share, the key that made it
 * @property {string} readerMember
 * @property {string} holder the hospital that released
 * @property {string} view
 * @property {string} purpose
 * @property {readonly bigint[]} rows indexes in the patient's log; none: only the list was released
 * @property {bigint} height
 * @property {bigint} timeMs
 */

/** @param {Uint8Array} data @returns {Disclosed} */
export function decodeDisclosed(data) {
  const fields = codec.array(codec.decode(data, 4_096, "access entry"), 10, "access entry");
  const basis = codec.text(fields[0], "access basis", 16);
  if (!BASES.includes(basis)) {
    throw new NotCanonical("access basis", `one of ${BASES.join(", ")} is wanted`);
  }
  const rows = codec.arrayUpTo(fields[7], ROWS_PER_TRANSACTION_MAX, "access rows");
  return {
    basis,
    permission: codec.hash32(fields[1], "access permission"),
    reader: codec.hash32(fields[2], "access reader", "KeyId"),
    readerMember: codec.memberId(fields[3], "access reader member"),
    holder: codec.memberId(fields[4], "access holder"),
    view: codec.text(fields[5], "access view", 16),
    purpose: codec.text(fields[6], "access purpose", 16),
    rows: rows.map((row) => codec.uint(row, "access row")),
    height: codec.uint(fields[8], "access height"),
    timeMs: codec.uint(fields[9], "access time"),
  };
}

/**
 * A committed answer "yes" to a request to read.
 * @typedef {object} Permission
 * @property {Uint8Array} reader
 * @property {string} readerMember
 * @property {Uint8Array | null} patient
 * @property {string | null} holder
 * @property {string} view
 * @property {string} purpose
 * @property {bigint} expires last height at which a disclosure may be recorded under it
 */

/** @param {Uint8Array} data @returns {Permission} */
export function decodePermission(data) {
  const fields = codec.array(codec.decode(data, 512, "permission"), 7, "permission");
  return {
    reader: codec.hash32(fields[0], "permission reader", "KeyId"),
    readerMember: codec.memberId(fields[1], "permission reader member"),
    patient:
      fields[2] === null ? null : codec.hash32(fields[2], "permission patient", "PatientKey"),
    holder: fields[3] === null ? null : codec.memberId(fields[3], "permission holder"),
    view: codec.text(fields[4], "permission view", 16),
    purpose: codec.text(fields[5], "permission purpose", 16),
    expires: codec.uint(fields[6], "permission expiry"),
  };
}

/** Count and root of a log: the value of its state key. @param {Uint8Array} data */
export function decodeLogRoot(data) {
  const [count, root] = codec.array(codec.decode(data, 64, "log root"), 2, "log root");
  return { count: codec.uint(count, "log count"), root: codec.hash32(root, "log root") };
}
