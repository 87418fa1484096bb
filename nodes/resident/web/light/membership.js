/**
 * The validators that vote on a height, in a fixed order; their place is their index.
 * @module
 */

import * as codec from "./codec.js";
import { NotCanonical } from "./errors.js";
import { toHex } from "./bytes.js";
import { hashTagged } from "./hashing.js";
import { PublicKey } from "./keys.js";
import { MEMBERSHIP_BYTES_MAX, PUBLIC_KEY_BYTES_MAX, VALIDATORS_MAX } from "./limits.js";

/**
 * @typedef {object} Validator
 * @property {string} member the organisation that runs it
 * @property {PublicKey} publicKey the consensus key; it signs votes and nothing else
 */

/** Votes that decide among `n`: two such sets share a correct validator. @param {number} n */
export function quorumOf(n) {
  const faults = Math.floor((n - 1) / 3);
  return Math.floor((n + faults) / 2) + 1;
}

/** All validators of one height. */
export class Membership {
  /** @type {Uint8Array | undefined} */
  #hash;

  /** @param {readonly Validator[]} validators sorted by member id, no member and no key twice */
  constructor(validators) {
    this.validators = validators;
  }

  get n() {
    return this.validators.length;
  }

  get quorum() {
    return quorumOf(this.n);
  }

  /** H("membership", bytes): what headers carry. */
  get hash() {
    this.#hash ??= hashTagged("membership", this.encode());
    return this.#hash;
  }

  encode() {
    return codec.encode(this.validators.map((each) => [each.member, each.publicKey.encoded]));
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    const value = codec.decode(data, MEMBERSHIP_BYTES_MAX, "membership");
    const rows = codec.arrayUpTo(value, VALIDATORS_MAX, "membership");
    return checkedMembership(rows.map(validator));
  }
}

/** @param {codec.Value} row @returns {Validator} */
function validator(row) {
  const [member, key] = codec.array(row, 2, "validator");
  const encoded = codec.binary(key, "validator key", PUBLIC_KEY_BYTES_MAX);
  return {
    member: codec.memberId(member, "validator member"),
    publicKey: PublicKey.decode(encoded),
  };
}

/** A membership, if it is not empty, sorted, and names no member and no key twice. @param {readonly Validator[]} validators */
export function checkedMembership(validators) {
  if (validators.length < 1 || validators.length > VALIDATORS_MAX) {
    throw new NotCanonical("membership", `${validators.length} validators`);
  }
  const members = validators.map((each) => each.member);
  const keys = new Set(validators.map((each) => toHex(each.publicKey.encoded)));
  if (!rising(members) || keys.size !== members.length) {
    throw new NotCanonical("membership", "unsorted, or a member or key occurs twice");
  }
  return new Membership(validators);
}

/** Names that strictly rise. @param {readonly (string | bigint)[]} names */
export function rising(names) {
  return names.every((name, i) => i === 0 || names[i - 1] < name);
}
