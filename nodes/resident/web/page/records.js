/**
 * A person's records: the complete list and single ones, verified now or again from what is kept.
 * @module
 */

import { toHex } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import * as light from "../light/index.js";
import { LOG_ENTRIES_MAX } from "../light/limits.js";
import { requestPermission } from "./actions.js";
import { Failure, isOffline, Refused } from "./failures.js";
import { getBytes } from "./http.js";
import { requestHeaders } from "./keys.js";
import { metadataOf } from "./metadata.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Identity} Identity */
/** @typedef {import("./store.js").KeptList} KeptList */
/** @typedef {import("./store.js").KeptRecord} KeptRecord */
/** @typedef {import("../light/records.js").ListedRow} ListedRow */

/** Older answers are refused from a server; what is kept is shown with its age instead. */
const ANY_AGE_MS = 2n ** 63n;
const ATTACHMENTS_MAX = 4_096;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/**
 * @typedef {object} RecordList
 * @property {readonly (ListedRow & {metadata: import("./metadata.js").Metadata | null})[]} rows
 * @property {import("../light/certificate.js").Header} header under which all of it is proved
 * @property {number} entries of the log, statuses too
 * @property {number} signers hospitals that certified the header
 * @property {number} voters hospitals that vote
 * @property {bigint} ageMs
 * @property {boolean} kept it comes from this device, not from the network
 */

/**
 * @typedef {object} ShownRecord
 * @property {ListedRow} listed
 * @property {import("../light/records.js").VerifiedRecord} record
 * @property {light.ViewRules} rules by which it was verified: the chain holds their hash
 * @property {readonly Uint8Array[]} attachments not verified; nothing of them may be shown as they are
 * @property {boolean} kept
 */

/**
 * The complete list; the kept one where there is no network.
 * @param {Session} session
 * @param {Store} store
 * @param {Identity} identity
 */
export async function recordList(session, store, identity) {
  try {
    return await listNow(session, store, identity);
  } catch (error) {
    const kept = isOffline(error) ? await store.get("lists", identity.keyId) : undefined;
    if (kept === undefined) throw error;
    return checkedList(kept, identity, ANY_AGE_MS, true);
  }
}

/** @param {Session} session @param {Store} store @param {Identity} identity */
async function listNow(session, store, identity) {
  const trusted = await session.refresh();
  const target = `/v1/patients/${toHex(identity.patient)}/records`;
  const data = await signedGet(identity, target);
  const fields = codec.array(codec.decode(data, data.length, "record list"), 2, "record list");
  const kept = {
    keyId: identity.keyId,
    trusted: trusted.encode(),
    bundle: codec.encode(fields[0]),
    rowKeys: rowKeys(fields[1]),
  };
  const list = await checkedList(kept, identity, session.maxAgeMs, false);
  await session.grow(list.header);
  await store.put("lists", kept);
  return list;
}

/**
 * @param {KeptList} kept
 * @param {Identity} identity
 * @param {bigint} maxAgeMs
 * @param {boolean} fromDevice
 * @returns {Promise<RecordList>}
 */
async function checkedList(kept, identity, maxAgeMs, fromDevice) {
  const trusted = light.TrustedChain.decode(kept.trusted);
  const bundle = light.decodeBundleOf(kept.bundle, light.LogBundle);
  const now = BigInt(Date.now());
  const list = await light.verifyPatientList(trusted, bundle, identity.patient, now, maxAgeMs);
  const keys = new Map(kept.rowKeys);
  const rows = list.rows.map(async (listed) => {
    const key = keys.get(listed.index);
    return { ...listed, metadata: key ? await metadataOf(listed.row, key) : null };
  });
  return {
    rows: await Promise.all(rows),
    header: list.header,
    entries: bundle.entries.length,
    signers: bundle.state.certified.certificate.signers.length,
    voters: trusted.membership.validators.length,
    ageMs: light.checkAge(list.header, now, maxAgeMs),
    kept: fromDevice,
  };
}

/** @param {codec.Value} value */
function rowKeys(value) {
  /** @type {[number, Uint8Array][]} */
  const keys = [];
  for (const pair of codec.arrayUpTo(value, LOG_ENTRIES_MAX, "row keys")) {
    const [index, key] = codec.array(pair, 2, "row key");
    if (key === null) continue;
    keys.push([Number(codec.uint(index, "row key index")), codec.fixed(key, "row key", 32, "key")]);
  }
  return keys;
}

/**
 * One record, verified against its row; the kept one where there is no network.
 * @param {Session} session
 * @param {Store} store
 * @param {Identity} identity
 * @param {ListedRow} listed of a verified list
 * @param {string} view
 */
export async function readRecord(session, store, identity, listed, view) {
  try {
    const made = await readNow(session, identity, listed, view);
    const shown = checkedRecord(made, listed, view, false);
    await store.put("records", made);
    return shown;
  } catch (error) {
    const key = [identity.keyId, listed.index];
    const kept = isOffline(error) ? await store.get("records", key) : undefined;
    if (isOffline(error) && kept === undefined) throw new Failure("not-kept");
    if (kept === undefined) throw error;
    return checkedRecord(kept, listed, kept.view, true);
  }
}

/** Permissions of this visit, by key and view. @type {Map<string, Uint8Array>} */
const permissions = new Map();

/**
 * @param {Session} session
 * @param {Identity} identity
 * @param {ListedRow} listed
 * @param {string} view
 * @returns {Promise<KeptRecord>}
 */
async function readNow(session, identity, listed, view) {
  const name = `${identity.keyId} ${view}`;
  const known = permissions.get(name);
  const permission = known ?? (await requestPermission(session, identity, view));
  permissions.set(name, permission);
  const place = `/v1/patients/${toHex(identity.patient)}/records/${listed.index}`;
  let data;
  try {
    data = await signedGet(identity, `${place}?permission=${toHex(permission)}`);
  } catch (error) {
    permissions.delete(name);
    const over = error instanceof Refused && error.code.startsWith("permission/");
    if (known && over) return readNow(session, identity, listed, view);
    throw error;
  }
  const fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, "record"), 3, "record");
  const attachments = codec.arrayUpTo(fields[2], ATTACHMENTS_MAX, "attachments");
  return {
    keyId: identity.keyId,
    index: listed.index,
    view,
    rules: (await session.viewRules(view)).file,
    disclosure: codec.binary(fields[1], "disclosure", ANSWER_BYTES_MAX),
    attachments: attachments.map((item) => codec.binary(item, "attachment", ANSWER_BYTES_MAX)),
  };
}

/**
 * @param {KeptRecord} made
 * @param {ListedRow} listed
 * @param {string} view
 * @param {boolean} kept
 * @returns {ShownRecord}
 */
function checkedRecord(made, listed, view, kept) {
  const rules = light.ViewRules.decode(made.rules);
  const record = light.verifyRecord(listed, light.Disclosure.decode(made.disclosure), rules);
  if (record.view !== view) throw new light.WrongView(record.view, rules.hash, view);
  return { listed, record, rules, attachments: made.attachments, kept };
}

/** @param {Identity} identity @param {string} target */
async function signedGet(identity, target) {
  return getBytes(target, { headers: await requestHeaders(identity, "GET", target, Date.now()) });
}

/** Records that this device can show without a network. @param {Store} store @param {Identity} identity */
export async function keptIndexes(store, identity) {
  const all = await store.all("records");
  return new Set(all.filter((one) => one.keyId === identity.keyId).map((one) => one.index));
}
