/**
 * The genesis document: from its bytes alone everything later is verified.
 * @module
 */

import { ascending, equal } from "./bytes.js";
import * as codec from "./codec.js";
import { VIEWS } from "./entries.js";
import { NotCanonical } from "./errors.js";
import { hashTagged } from "./hashing.js";
import { PublicKey } from "./keys.js";
import {
  GENESIS_BYTES_MAX,
  MEMBERS_MAX,
  PROTOCOL_VERSION,
  PUBLIC_KEY_BYTES_MAX,
  USERS_IN_GENESIS_MAX,
} from "./limits.js";
import { checkedMembership, rising } from "./membership.js";

const MEMBER_KINDS = ["authority", "hospital", "vendor"];
const ROLES = [
  "administrator",
  "gateway",
  "guardian",
  "registrar",
  "resident",
  "treating",
  "validator",
  "vendor-service",
];
const NAME_MAX = 100, CERTIFICATE_MAX = 4_096, ENDPOINT_MAX = 200, ROLES_MAX = 16;

/**
 * An organisation of the consortium.
 * @typedef {object} Member
 * @property {string} id
 * @property {string} name as people call it, in any script
 * @property {string} kind "authority", "hospital" or "vendor"
 * @property {Uint8Array} consensusKey of its validator; empty unless it is a hospital
 * @property {{peer: string, nodeApi: string, gateway: string}} endpoints
 * @property {bigint} licenceUntilMs
 */

/**
 * A key that may sign transactions.
 * @typedef {object} UserKey
 * @property {string} member who answers for it; for a resident, the hospital that bound it
 * @property {PublicKey} publicKey
 * @property {readonly string[]} roles
 * @property {bigint} validUntilMs compared with block time
 * @property {Uint8Array | null} patient a resident's own patient key
 */

/** The document on which all members agreed; the chain id is its hash. */
export class Genesis {
  /**
   * @param {Uint8Array} encoded the canonical bytes it was read from
   * @param {string} network
   * @param {bigint} timeMs
   * @param {bigint} emptyBlockIntervalMs how long an idle chain waits for its next block
   * @param {readonly Member[]} members
   * @param {readonly UserKey[]} users
   * @param {readonly {view: string, hash: Uint8Array}[]} viewRules of each of VIEWS, in their order
   */
  constructor(encoded, network, timeMs, emptyBlockIntervalMs, members, users, viewRules) {
    this.chainId = hashTagged("genesis", encoded);
    this.network = network;
    this.timeMs = timeMs;
    this.emptyBlockIntervalMs = emptyBlockIntervalMs;
    this.members = members;
    this.users = users;
    this.viewRules = viewRules;
    /** The validators of height 1: one for each hospital. */
    this.membership = checkedMembership(
      members
        .filter((member) => member.kind === "hospital")
        .map((member) => ({ member: member.id, publicKey: new PublicKey(member.consensusKey) })),
    );
  }

  /** @param {Uint8Array} data */
  static decode(data) {
    const fields = codec.array(codec.decode(data, GENESIS_BYTES_MAX, "genesis"), 8, "genesis");
    if (fields[0] !== BigInt(PROTOCOL_VERSION)) {
      throw new NotCanonical("genesis", `version ${fields[0]} is not ${PROTOCOL_VERSION}`);
    }
    const numbers = codec.array(fields[3], 4, "genesis parameters");
    const parameters = numbers.map((item) => codec.uint(item, "genesis parameter"));
    if (parameters[0] === 0n || parameters[1] === 0n) {
      throw new NotCanonical("genesis parameters", "k and rotation are at least 1");
    }
    const members = codec.arrayUpTo(fields[4], MEMBERS_MAX, "genesis members");
    const users = codec.arrayUpTo(fields[5], USERS_IN_GENESIS_MAX, "genesis users");
    const wraps = codec.arrayUpTo(fields[6], MEMBERS_MAX, "genesis wrapped keys");
    const rules = codec.array(fields[7], VIEWS.length, "genesis view rules");
    const network = codec.text(fields[1], "genesis network", NAME_MAX);
    const timeMs = codec.uint(fields[2], "genesis time");
    const known = { members: members.map(memberOf), users: users.map(userKeyFromValue) };
    const wrapped = wraps.map(wrappedMember);
    const viewRules = rules.map(viewRulesOf);
    checkMembers(known.members);
    const genesis = new Genesis(
      data, network, timeMs, parameters[2], known.members, known.users, viewRules,
    );
    checkUsers(genesis, wrapped);
    return genesis;
  }

  /** The member of that id. @param {string} id */
  member(id) {
    return this.members.find((member) => member.id === id) ?? null;
  }
}

/** @param {readonly Member[]} members */
function checkMembers(members) {
  if (!rising(members.map((member) => member.id))) {
    throw new NotCanonical("genesis members", "unsorted, or one occurs twice");
  }
}

/** @param {Genesis} genesis @param {readonly string[]} wrapped */
function checkUsers({ members, users, membership, viewRules }, wrapped) {
  const keys = users.map((user) => user.publicKey.keyId);
  if (!ascending(keys)) {
    throw new NotCanonical("genesis users", "unsorted by key id, or one occurs twice");
  }
  const ids = new Set(members.map((member) => member.id));
  const unknown = users.map((user) => user.member).filter((member) => !ids.has(member));
  if (unknown.length > 0) {
    throw new NotCanonical("genesis users", `${unknown.sort()[0]} is no member`);
  }
  const votes = membership.validators.map((validator) => validator.publicKey.keyId);
  if (votes.some((vote) => keys.some((key) => equal(key, vote)))) {
    throw new NotCanonical("genesis users", "a consensus key acts as nothing else");
  }
  const hospitals = members.filter((member) => member.kind === "hospital");
  if (
    wrapped.length !== hospitals.length ||
    wrapped.some((member, i) => member !== hospitals[i].id)
  ) {
    throw new NotCanonical("genesis wrapped keys", "one for each hospital is wanted");
  }
  if (viewRules.some(({ view }, i) => view !== VIEWS[i])) {
    throw new NotCanonical("genesis view rules", `${VIEWS.join(", ")} are wanted`);
  }
}

/** @param {codec.Value} value @returns {Member} */
function memberOf(value) {
  const fields = codec.array(value, 8, "member");
  const places = codec.array(fields[6], 3, "member endpoints");
  const kind = codec.text(fields[2], "member kind", 16);
  if (!MEMBER_KINDS.includes(kind)) {
    const kinds = MEMBER_KINDS.join(", ");
    throw new NotCanonical("member kind", `${codec.quoted(kind)} is none of ${kinds}`);
  }
  const keys = [4, 5].map((i) => codec.binary(fields[i], "member key", PUBLIC_KEY_BYTES_MAX));
  for (const key of keys) {
    if (key.length > 0 !== (kind === "hospital")) {
      throw new NotCanonical("member", "a hospital has both keys, others have none");
    }
    if (key.length > 0) PublicKey.decode(key);
  }
  const id = codec.memberId(fields[0], "member id");
  const name = codec.text(fields[1], "member name", NAME_MAX);
  codec.binary(fields[3], "member CA certificate", CERTIFICATE_MAX);
  const [peer, nodeApi, gateway] = places.map((place) =>
    codec.text(place, "member endpoint", ENDPOINT_MAX),
  );
  const licenceUntilMs = codec.uint(fields[7], "member licence");
  const endpoints = { peer, nodeApi, gateway };
  return { id, name, kind, consensusKey: keys[0], endpoints, licenceUntilMs };
}

/** The value of a member's state key. @param {Uint8Array} data */
export function decodeMember(data) {
  return memberOf(codec.decode(data, 8_192, "member"));
}

/** The value of a user's state key. @param {Uint8Array} data */
export function decodeUserKey(data) {
  return userKeyFromValue(codec.decode(data, 1_024, "user key"));
}

/** @param {codec.Value} value @returns {UserKey} */
function userKeyFromValue(value) {
  const fields = codec.array(value, 5, "user key");
  const roles = codec
    .arrayUpTo(fields[2], ROLES_MAX, "user roles")
    .map((role) => codec.text(role, "user role", 32));
  if (!rising(roles) || !roles.every((role) => ROLES.includes(role))) {
    throw new NotCanonical("user roles", `sorted roles of ${ROLES.join(", ")} are wanted`);
  }
  const patient = fields[4];
  const forPatient = roles.length === 1 && ["guardian", "resident"].includes(roles[0]);
  if ((patient !== null) !== forPatient) {
    throw new NotCanonical("user key", "a resident or guardian alone has a patient key");
  }
  const member = codec.memberId(fields[0], "user member");
  const key = codec.binary(fields[1], "user public key", PUBLIC_KEY_BYTES_MAX);
  return {
    member,
    publicKey: PublicKey.decode(key),
    roles,
    validUntilMs: codec.uint(fields[3], "user valid until"),
    patient: patient === null ? null : codec.hash32(patient, "patient key", "PatientKey"),
  };
}

/** @param {codec.Value} value */
function wrappedMember(value) {
  const [member, wrapped] = codec.array(value, 2, "genesis wrapped key");
  const name = codec.memberId(member, "wrapped key member");
  codec.binary(wrapped, "wrapped key", 512);
  return name;
}

/** @param {codec.Value} value */
function viewRulesOf(value) {
  const [view, hash] = codec.array(value, 2, "genesis view rules");
  return {
    view: codec.text(view, "genesis view", 16),
    hash: codec.hash32(hash, "genesis view rules"),
  };
}
