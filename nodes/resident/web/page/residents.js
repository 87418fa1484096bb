/**
 * What the state holds for residents, and the one-time code of a hospital
 * (ledger/types/residents.py and docs/resident-api.md).
 * @module
 */

import { concat, utf8 } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import { NotCanonical } from "../light/index.js";
import { fromBase64Url } from "./base64.js";
import { Failure } from "./failures.js";

const CODE_PREFIX = "yilian-enrol:";

/** @param {Uint8Array} patient */
export const residentKeysKey = (patient) => concat(utf8("resident-keys/"), patient);
/** @param {Uint8Array} patient */
export const directivesKey = (patient) => concat(utf8("consent/"), patient);
/** @param {Uint8Array} patient */
export const copiesKey = (patient) => concat(utf8("copies/"), patient);
/** @param {Uint8Array} share */
export const shareKey = (share) => concat(utf8("share/"), share);
/** @param {Uint8Array} patient */
export const sharesLog = (patient) => concat(utf8("shares/"), patient);
/** @param {Uint8Array} rowHash */
export const rowStatusKey = (rowHash) => concat(utf8("row/"), rowHash, utf8("/status"));

/**
 * @typedef {object} EnrolmentCode
 * @property {Uint8Array} chainId
 * @property {string} hospital
 * @property {Uint8Array} patient
 * @property {string} role
 * @property {Uint8Array} challenge
 */

/** The text of a hospital's QR code; throws Failure. @param {string} text @returns {EnrolmentCode} */
export function enrolmentCode(text) {
  const body = text.trim();
  if (!body.startsWith(CODE_PREFIX) || body.length > 512) throw new Failure("code-damaged");
  try {
    const data = fromBase64Url(body.slice(CODE_PREFIX.length));
    const fields = codec.array(codec.decode(data, 512, "code"), 6, "code");
    if (fields[0] !== 1n) throw new NotCanonical("code", "of another version");
    return {
      chainId: codec.hash32(fields[1], "code"),
      hospital: codec.memberId(fields[2], "code"),
      patient: codec.hash32(fields[3], "code"),
      role: oneOf(["guardian", "resident"], fields[4], "code"),
      challenge: codec.fixed(fields[5], "code", 16, "Nonce"),
    };
  } catch {
    throw new Failure("code-damaged");
  }
}

/** Ids of the keys that act for a patient. @param {Uint8Array | null} data */
export function decodeResidentKeys(data) {
  return items(data, 1_024, 4, "resident keys").map((item) => codec.hash32(item, "resident key"));
}

/**
 * What one reader, one member or everybody may read, and nothing else.
 * @typedef {object} Directive
 * @property {string | null} member null: everybody
 * @property {Uint8Array | null} reader null: the whole member
 * @property {readonly string[]} views
 * @property {readonly string[]} purposes
 * @property {bigint} untilMs
 */

/** @param {Uint8Array | null} data @returns {Directive[]} */
export function decodeDirectives(data) {
  return items(data, 16_384, 64, "directives").map((item) => {
    const fields = codec.array(item, 5, "directive");
    return {
      member: fields[0] === null ? null : codec.memberId(fields[0], "directive"),
      reader: fields[1] === null ? null : codec.hash32(fields[1], "directive"),
      views: names(fields[2], "directive"),
      purposes: names(fields[3], "directive"),
      untilMs: codec.uint(fields[4], "directive"),
    };
  });
}

/** @typedef {{hospital: string, state: string, reason: string | null, untilMs: bigint}} CopyRequest */

/** @param {Uint8Array | null} data @returns {CopyRequest[]} */
export function decodeCopies(data) {
  return items(data, 131_072, 1_024, "copy requests").map((item) => {
    const fields = codec.array(item, 4, "copy request");
    return {
      hospital: codec.memberId(fields[0], "copy request"),
      state: oneOf(["approved", "refused", "requested"], fields[1], "copy request"),
      reason: fields[2] === null ? null : codec.text(fields[2], "copy request", 32),
      untilMs: codec.uint(fields[3], "copy request"),
    };
  });
}

/**
 * @typedef {object} Share
 * @property {Uint8Array} patient
 * @property {string} holder
 * @property {readonly bigint[]} rows
 * @property {string} view
 * @property {Uint8Array} tokenHash
 * @property {Uint8Array} verifier
 * @property {bigint} untilMs
 * @property {number} attemptsLeft
 * @property {boolean} ended
 */

/** @param {Uint8Array} data @returns {Share} */
export function decodeShare(data) {
  const fields = codec.array(codec.decode(data, 1_024, "share"), 10, "share");
  codec.hash32(fields[1], "share"); // the key that made it
  return {
    patient: codec.hash32(fields[0], "share"),
    holder: codec.memberId(fields[2], "share"),
    rows: codec.arrayUpTo(fields[3], 16, "share").map((row) => codec.uint(row, "share")),
    view: oneOf(["clinical", "deidentified", "resident"], fields[4], "share"),
    tokenHash: codec.hash32(fields[5], "share"),
    verifier: codec.hash32(fields[6], "share"),
    untilMs: codec.uint(fields[7], "share"),
    attemptsLeft: codec.small(fields[8], "share", 10),
    ended: codec.uint(fields[9], "share", 1n) === 1n,
  };
}

/** Why it cannot be opened; "open" if it can. @param {Share} share @param {bigint} nowMs */
export function shareState(share, nowMs) {
  if (share.ended) return "ended";
  if (share.untilMs <= nowMs) return "expired";
  return share.attemptsLeft === 0 ? "locked" : "open";
}

/** @param {Uint8Array | null} data @param {number} bytes @param {number} limit @param {string} what */
function items(data, bytes, limit, what) {
  return data === null ? [] : codec.arrayUpTo(codec.decode(data, bytes, what), limit, what);
}

/** @param {codec.Value} value @param {string} what */
function names(value, what) {
  return codec.arrayUpTo(value, 8, what).map((item) => codec.text(item, what, 32));
}

/** @param {readonly string[]} known @param {codec.Value} value @param {string} what */
function oneOf(known, value, what) {
  const name = codec.text(value, what, 32);
  if (!known.includes(name)) throw new NotCanonical(what, `one of ${known.join(", ")} is wanted`);
  return name;
}
