/**
 * What a person does: transactions of the own key, and enrolment before there is one.
 * @module
 */

import { equal, fromHex, toHex, utf8 } from "../light/bytes.js";
import { decodePermission, decodeUserKey, permissionKey, userKey } from "../light/index.js";
import { Failure, Refused } from "./failures.js";
import { postJson, receipt, submit } from "./http.js";
import { checkDigits, makeKey, sign, signTransaction } from "./keys.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./store.js").Identity} Identity */
/** @typedef {import("./store.js").Store} Store */

/** How far ahead a transaction expires: half of what is allowed, for nodes that lag. */
const VALID_HEIGHTS = 500n;
export const DAY_MS = 86_400_000;

/**
 * Commits one action; its transaction's id. What it wrote is for the caller to read and verify.
 * @param {Session} session
 * @param {Identity} identity
 * @param {string} contract
 * @param {string} action
 * @param {readonly import("../light/codec.js").Value[]} args
 */
export async function execute(session, identity, contract, action, args) {
  const { height } = await session.refresh();
  const { id, encoded } = await signTransaction(
    identity, contract, action, args, height + VALID_HEIGHTS,
  );
  await submit(encoded);
  const { code } = await receipt(id);
  if (code !== "ok") throw new Refused(code, 0);
  return id;
}

/**
 * A permission to read own records, proved; its id.
 * @param {Session} session
 * @param {Identity} identity
 * @param {string} view
 */
export async function requestPermission(session, identity, view) {
  const id = await execute(session, identity, "access", "request", [
    identity.patient, view, "PATRQT",
  ]);
  const value = await session.state(permissionKey(id));
  const patient = value === null ? null : decodePermission(value).patient;
  if (patient === null || !equal(patient, identity.patient)) throw new Failure("not-proved");
  return id;
}

/**
 * Makes a key for the code and shows it to the hospital; kept before it is shown, so that a page
 * that is closed meanwhile goes on with the same key.
 * @param {Store} store
 * @param {import("./enrolment.js").EnrolmentCode} code
 * @param {string} label
 */
export async function enrol(store, code, label) {
  const made = await makeKey();
  /** @type {Identity} */
  const identity = {
    ...made,
    chainId: code.chainId,
    hospital: code.hospital,
    patient: code.patient,
    role: code.role,
    label,
    bound: false,
  };
  const possession = await sign(
    made.pair,
    "sign-enrolment",
    code.chainId,
    code.patient,
    utf8(code.hospital),
    utf8(code.role),
    code.challenge,
    made.publicKey,
  );
  await store.put("identities", identity);
  try {
    const answer = await postJson(`/v1/enrolments/${toHex(code.challenge)}/key`, {
      public_key: toHex(made.publicKey),
      possession: toHex(possession),
    });
    if (answer.check !== checkDigits(made.keyId)) throw new Failure("unreadable");
  } catch (error) {
    await store.remove(made.keyId);
    throw error;
  }
  return identity;
}

/**
 * Whether the chain proves that the key is this person's; throws where it proves another thing.
 * @param {Session} session
 * @param {Store} store
 * @param {Identity} identity
 */
export async function checkBound(session, store, identity) {
  const value = await session.state(userKey(fromHex(identity.keyId)));
  if (value === null) return false;
  const { patient, roles, publicKey, validUntilMs } = decodeUserKey(value);
  const same =
    patient !== null &&
    equal(patient, identity.patient) &&
    roles[0] === identity.role &&
    equal(publicKey.encoded, identity.publicKey);
  if (!same) throw new Failure("bound-otherwise");
  if (validUntilMs <= session.trusted.timeMs) throw new Failure("key-ended");
  if (!identity.bound) {
    identity.bound = true;
    await store.put("identities", identity);
  }
  return true;
}
