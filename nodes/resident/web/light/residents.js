/**
 * What the state holds for residents: their keys, their wishes, full copies and shares
 * (ledger/types/residents.py).
 * @module
 */

import { ascending, concat, equal, utf8 } from "./bytes.js";
import * as codec from "./codec.js";
import { PURPOSES, VIEWS } from "./entries.js";
import { NotCanonical } from "./errors.js";
import { hashTagged } from "./hashing.js";
import {
  DIRECTIVES_MAX,
  MEMBERS_MAX,
  RESIDENT_KEYS_MAX,
  SHARE_ATTEMPTS_MAX,
  SHARE_ROWS_MAX,
} from "./limits.js";
import { rising } from "./membership.js";

const COPY_STATES = ["approved", "refused", "requested"];
const REFUSAL_REASONS = ["identity-not-proved", "no-records", "serious-harm", "third-party"];

/** State key of the keys that act for a patient. @param {Uint8Array} patient */
export const residentKeysKey = (patient) => concat(utf8("resident-keys/"), patient);
/** State key of a patient's directives. @param {Uint8Array} patient */
export const directivesKey = (patient) => concat(utf8("consent/"), patient);
/** State key of a patient's requests for a full copy. @param {Uint8Array} patient */
export const copiesKey = (patient) => concat(utf8("copies/"), patient);
/** State key of a share. @param {Uint8Array} share */
export const shareKey = (share) => concat(utf8("share/"), share);
/** State key of the log of the ids of all shares of a patient, oldest first. @param {Uint8Array} patient */
export const sharesLog = (patient) => concat(utf8("shares/"), patient);

/** What the chain holds of a share's token of 32 random bytes, which stands in its link. @param {Uint8Array} token */
export const shareTokenHash = (token) => hashTagged("share-link", token);
/** What the chain holds of a passcode; the token, which it does not hold, is the salt. @param {Uint8Array} token @param {string} passcode */
export const shareVerifier = (token, passcode) => hashTagged("share-passcode", token, utf8(passcode));
/** The key under which a share's files travel. @param {Uint8Array} token */
export const shareContentKey = (token) => hashTagged("share-content", token);

/** Ids of the keys that act for a patient. @param {Uint8Array} data */
export function decodeResidentKeys(data) {
  const what = "resident keys";
  const keys = codec
    .arrayUpTo(codec.decode(data, 1_024, what), RESIDENT_KEYS_MAX, what)
    .map((item) => codec.hash32(item, what, "KeyId"));
  checkRising(ascending(keys), what);
  return keys;
}

/**
 * What one reader, one member or everybody may read, and nothing else, while it holds.
 * @typedef {object} Directive
 * @property {string | null} member null: everybody
 * @property {Uint8Array | null} reader null: the whole member
 * @property {readonly string[]} views sorted; without views or purposes it permits nothing
 * @property {readonly string[]} purposes sorted
 * @property {bigint} untilMs from then on it is as if it were not there (block time)
 */

/** All directives of a patient, each of another subject. @param {Uint8Array} data */
export function decodeDirectives(data) {
  const what = "directives";
  const items = codec.arrayUpTo(codec.decode(data, 16_384, what), DIRECTIVES_MAX, what);
  const found = items.map(directiveOf);
  checkRising(ascending(found.map(placeOf)), what);
  return found;
}

/** As the chain holds them. @param {readonly Directive[]} directives by subject */
export function encodeDirectives(directives) {
  return codec.encode(
    directives.map(({ member, reader, views, purposes, untilMs }) => [
      member, reader, views, purposes, untilMs,
    ]),
  );
}

/** @param {codec.Value} value @returns {Directive} */
function directiveOf(value) {
  const what = "directive", subject = "directive subject";
  const fields = codec.array(value, 5, what);
  if (fields[0] === null && fields[1] !== null) {
    throw new NotCanonical(subject, "a reader is named with its member");
  }
  return {
    member: fields[0] === null ? null : codec.memberId(fields[0], subject),
    reader: fields[1] === null ? null : codec.hash32(fields[1], subject, "KeyId"),
    views: namesOf(fields[2], VIEWS, what),
    purposes: namesOf(fields[3], PURPOSES, what),
    untilMs: codec.uint(fields[4], what),
  };
}

/** Everybody first, then members, each before its readers. @param {Directive} directive */
function placeOf({ member, reader }) {
  // A zero ends the name: no id holds one, so a name comes before those that begin with it.
  return concat(utf8(`${member ?? ""}\0`), reader ?? new Uint8Array());
}

/** Whether two directives are about the same subject. @param {Pick<Directive, "member" | "reader">} a @param {Pick<Directive, "member" | "reader">} b */
export function sameSubject(a, b) {
  const readers = a.reader === null || b.reader === null ? a.reader === b.reader
    : equal(a.reader, b.reader);
  return a.member === b.member && readers;
}

/**
 * Whether the directives leave a reader what the default rules allow: the most specific one that
 * has not ended decides alone.
 * @param {readonly Directive[]} directives
 * @param {{member: string, reader: Uint8Array}} reader
 * @param {string} view
 * @param {string} purpose
 * @param {bigint} timeMs of a verified header
 */
export function permits(directives, { member, reader }, view, purpose, timeMs) {
  const live = directives.filter(({ untilMs }) => timeMs < untilMs);
  const subjects = [{ member, reader }, { member, reader: null }, { member: null, reader: null }];
  for (const subject of subjects) {
    const found = live.find((directive) => sameSubject(directive, subject));
    if (found) return found.views.includes(view) && found.purposes.includes(purpose);
  }
  return true;
}

/**
 * A resident's request for the full copy of one hospital's records, and its answer.
 * @typedef {object} CopyRequest
 * @property {string} hospital
 * @property {string} state "approved", "refused" or "requested"
 * @property {string | null} reason why it was refused
 * @property {bigint} untilMs where it is approved; else 0
 */

/** A patient's newest request to each hospital. @param {Uint8Array} data */
export function decodeCopies(data) {
  const what = "copy requests";
  const items = codec.arrayUpTo(codec.decode(data, 128 * MEMBERS_MAX, what), MEMBERS_MAX, what);
  const found = items.map(copyOf);
  checkRising(rising(found.map(({ hospital }) => hospital)), what);
  return found;
}

/** @param {codec.Value} value @returns {CopyRequest} */
function copyOf(value) {
  const what = "copy request";
  const fields = codec.array(value, 4, what);
  return {
    hospital: codec.memberId(fields[0], what),
    state: oneOf(COPY_STATES, fields[1], what),
    reason: fields[2] === null ? null : oneOf(REFUSAL_REASONS, fields[2], what),
    untilMs: codec.uint(fields[3], what),
  };
}

/**
 * Some of a patient's records at one hospital, for whoever has the link and the passcode.
 * @typedef {object} Share
 * @property {Uint8Array} patient
 * @property {Uint8Array} creator key that made it
 * @property {string} holder holds the records and serves the share
 * @property {readonly bigint[]} rows indexes in the patient's log, strictly rising
 * @property {string} view
 * @property {Uint8Array} tokenHash
 * @property {Uint8Array} verifier
 * @property {bigint} untilMs not opened from then on (block time)
 * @property {number} attemptsLeft wrong passcodes that are still borne; at 0 it is locked for ever
 * @property {boolean} ended
 */

/** @param {Uint8Array} data @returns {Share} */
export function decodeShare(data) {
  const what = "share";
  const fields = codec.array(codec.decode(data, 1_024, what), 10, what);
  const rows = codec
    .arrayUpTo(fields[3], SHARE_ROWS_MAX, what)
    .map((item) => codec.uint(item, what));
  if (rows.length === 0 || !rising(rows)) {
    throw new NotCanonical(what, "one row or more, strictly rising, is wanted");
  }
  return {
    patient: codec.hash32(fields[0], what, "PatientKey"),
    creator: codec.hash32(fields[1], what, "KeyId"),
    holder: codec.memberId(fields[2], what),
    rows,
    view: oneOf(VIEWS, fields[4], what),
    tokenHash: codec.hash32(fields[5], what),
    verifier: codec.hash32(fields[6], what),
    untilMs: codec.uint(fields[7], what),
    attemptsLeft: codec.small(fields[8], what, SHARE_ATTEMPTS_MAX),
    ended: codec.uint(fields[9], what, 1n) === 1n,
  };
}

/** As the chain holds it. @param {Share} share */
export function encodeShare(share) {
  return codec.encode([
    share.patient, share.creator, share.holder, share.rows, share.view, share.tokenHash,
    share.verifier, share.untilMs, BigInt(share.attemptsLeft), share.ended ? 1n : 0n,
  ]);
}

/**
 * Why it cannot be opened at that time: "ended", "expired" or "locked"; null if it can.
 * @param {Share} share
 * @param {bigint} timeMs of a verified header, not of this device
 */
export function closed(share, timeMs) {
  if (share.ended) return "ended";
  if (share.untilMs <= timeMs) return "expired";
  return share.attemptsLeft === 0 ? "locked" : null;
}

/** `value`, if it is one of these texts. @param {readonly string[]} known @param {codec.Value} value @param {string} what */
export function oneOf(known, value, what) {
  const name = codec.text(value, what, 32);
  if (!known.includes(name)) throw new NotCanonical(what, `one of ${known.join(", ")} is wanted`);
  return name;
}

/** @param {codec.Value} value @param {readonly string[]} known @param {string} what */
function namesOf(value, known, what) {
  const names = codec.arrayUpTo(value, known.length, what).map((item) => oneOf(known, item, what));
  if (!rising(names)) {
    throw new NotCanonical(what, "the names are not sorted, or one is there twice");
  }
  return names;
}

/** @param {boolean} rises @param {string} what */
function checkRising(rises, what) {
  if (!rises) throw new NotCanonical(what, "the items are not in strictly rising order");
}
