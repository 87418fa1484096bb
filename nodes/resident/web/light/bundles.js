/**
 * Proof bundles: an answer of a server with everything needed to verify it.
 *
 * Nothing is verified here; the functions of trust.js and verify.js take these values.
 * @module
 */

import { CertifiedHeader } from "./certificate.js";
import * as codec from "./codec.js";
import { NotCanonical } from "./errors.js";
import {
  BUNDLE_BYTES_MAX,
  CHANGES_BYTES_MAX,
  INCLUSION_PATH_MAX,
  LOG_ENTRIES_MAX,
  LOG_ENTRY_BYTES_MAX,
  MEMBERSHIP_BYTES_MAX,
  MEMBERSHIP_CHANGES_MAX,
  PAGE_ENTRIES_MAX,
  STATE_KEY_BYTES_MAX,
  STATE_VALUE_BYTES_MAX,
} from "./limits.js";
import { Membership } from "./membership.js";
import { StateProof } from "./merkle.js";

/** The value of one state key, or its absence. */
export class StateBundle {
  /**
   * @param {CertifiedHeader} certified
   * @param {Uint8Array} key
   * @param {Uint8Array | null} value null: the key is claimed to be absent
   * @param {StateProof} proof
   */
  constructor(certified, key, value, proof) {
    this.certified = certified;
    this.key = key;
    this.value = value;
    this.proof = proof;
  }

  /** @returns {codec.Value[]} */
  fields() {
    return [this.certified.toValue(), this.key, this.value, this.proof.toValue()];
  }

  encode() {
    return codec.encode(["state", ...this.fields()]);
  }
}

/** All entries of one log, so that the list is complete (LIGHT-2). */
export class LogBundle {
  /**
   * @param {StateBundle} state the log's count and root; absent for an empty log
   * @param {readonly Uint8Array[]} entries
   */
  constructor(state, entries) {
    this.state = state;
    this.entries = entries;
  }

  encode() {
    return codec.encode(["log", ...this.state.fields(), this.entries]);
  }
}

/**
 * Index, entry and inclusion path, leaf side first.
 * @typedef {readonly [bigint, Uint8Array, readonly Uint8Array[]]} LogItem
 */

/** One entry of a log, with its place. */
export class LogEntryBundle {
  /** @param {StateBundle} state @param {LogItem} item */
  constructor(state, item) {
    this.state = state;
    this.item = item;
  }

  encode() {
    return codec.encode(["log-entry", ...this.state.fields(), ...this.item]);
  }
}

/** Some entries of one log, each with its place, under one state proof. */
export class LogEntriesBundle {
  /** @param {StateBundle} state @param {readonly LogItem[]} items by rising index */
  constructor(state, items) {
    this.state = state;
    this.items = items;
  }

  encode() {
    return codec.encode(["log-entries", ...this.state.fields(), this.items]);
  }
}

/** A certified header whose `nextMembership` is the hash of `membership`. */
export class MembershipChange {
  /** @param {CertifiedHeader} certified @param {Membership} membership */
  constructor(certified, membership) {
    this.certified = certified;
    this.membership = membership;
  }

  /** @returns {codec.Value} */
  toValue() {
    return ["membership-change", this.certified.toValue(), this.membership.encode()];
  }

  encode() {
    return codec.encode(this.toValue());
  }
}

/** @typedef {StateBundle | LogBundle | LogEntryBundle | LogEntriesBundle | MembershipChange} Bundle */

/** Any proof bundle; throws NotCanonical, TooLarge or OutOfRange. @param {Uint8Array} data @returns {Bundle} */
export function decodeBundle(data) {
  const value = codec.decode(data, BUNDLE_BYTES_MAX, "proof bundle");
  switch (codec.asArray(value)?.[0]) {
    case "state":
      return stateOf(codec.array(value, 5, "state bundle"));
    case "log": {
      const fields = codec.array(value, 6, "log bundle");
      const entries = codec.arrayUpTo(fields[5], LOG_ENTRIES_MAX, "log entries");
      return new LogBundle(stateOf(fields), entries.map(entryOf));
    }
    case "log-entry":
      return logEntry(codec.array(value, 8, "log-entry bundle"));
    case "log-entries": {
      const fields = codec.array(value, 6, "log-entries bundle");
      const items = codec.arrayUpTo(fields[5], PAGE_ENTRIES_MAX, "log entries");
      return new LogEntriesBundle(
        stateOf(fields),
        items.map((item) => itemOf(codec.array(item, 3, "log entry"))),
      );
    }
    case "membership-change":
      return membershipChange(value);
    default:
      throw new NotCanonical("proof bundle", "unknown kind");
  }
}

/**
 * A bundle of the wanted class; throws also NotCanonical where it is of another.
 * @template {Bundle} T
 * @param {Uint8Array} data
 * @param {new (...args: any[]) => T} kind
 * @returns {T}
 */
export function decodeBundleOf(data, kind) {
  const bundle = decodeBundle(data);
  if (!(bundle instanceof kind)) throw new NotCanonical("proof bundle", "another kind of bundle");
  return bundle;
}

/** The answer to a question for membership changes. @param {readonly MembershipChange[]} changes */
export function encodeChanges(changes) {
  return codec.encode(changes.map((change) => change.toValue()));
}

/** @param {Uint8Array} data */
export function decodeChanges(data) {
  return changesFromValue(codec.decode(data, CHANGES_BYTES_MAX, "membership changes"));
}

/** @param {codec.Value} value */
export function changesFromValue(value) {
  return codec
    .arrayUpTo(value, MEMBERSHIP_CHANGES_MAX, "membership changes")
    .map(membershipChange);
}

/** @param {codec.ValueArray} fields */
function stateOf(fields) {
  const value = fields[3];
  return new StateBundle(
    CertifiedHeader.fromValue(fields[1]),
    codec.binary(fields[2], "state key", STATE_KEY_BYTES_MAX),
    value === null ? null : codec.binary(value, "state value", STATE_VALUE_BYTES_MAX),
    StateProof.fromValue(fields[4]),
  );
}

/** @param {codec.ValueArray} fields */
function logEntry(fields) {
  const state = stateOf(fields);
  if (state.value === null) {
    throw new NotCanonical("log-entry bundle", "an entry of a log that is absent");
  }
  return new LogEntryBundle(state, itemOf(fields.slice(5)));
}

/** @param {codec.ValueArray} fields @returns {LogItem} */
function itemOf([index, entry, path]) {
  const hashes = codec.arrayUpTo(path, INCLUSION_PATH_MAX, "inclusion path");
  return [
    codec.uint(index, "entry index"),
    entryOf(entry),
    hashes.map((item) => codec.hash32(item, "inclusion path")),
  ];
}

/** @param {codec.Value} value */
function membershipChange(value) {
  const [kind, certified, membership] = codec.array(value, 3, "membership change");
  if (kind !== "membership-change") {
    throw new NotCanonical("membership change", "another kind of bundle");
  }
  return new MembershipChange(
    CertifiedHeader.fromValue(certified),
    Membership.decode(codec.binary(membership, "membership", MEMBERSHIP_BYTES_MAX)),
  );
}

/** @param {codec.Value} value */
function entryOf(value) {
  return codec.binary(value, "log entry", LOG_ENTRY_BYTES_MAX);
}
