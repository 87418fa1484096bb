/**
 * Opening a share without an account: passcode, files, decryption, proofs.
 * @module
 */

import { equal, toHex, utf8 } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import * as light from "../light/index.js";
import { fromBase64Url } from "./base64.js";
import { Failure } from "./failures.js";
import { getBytes, getJson } from "./http.js";
import { metadataOf } from "./metadata.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./shares.js").ShareLink} ShareLink */
/** @typedef {import("../light/residents.js").Share} Share */

const CONTENT_TYPE = "application/vnd.yilian.shared-record";
const FILES_MAX = 16;
const FILE_BYTES_MAX = 128 * 1024 * 1024;

/**
 * @typedef {object} SharedRecord
 * @property {import("../light/records.js").ListedRow} listed
 * @property {import("../light/records.js").VerifiedRecord} record
 * @property {light.ViewRules} rules by which it was verified
 * @property {import("./metadata.js").Metadata | null} metadata
 * @property {readonly Uint8Array[]} attachments not verified
 * @property {Share} share
 * @property {light.Header} header
 * @property {bigint} ageMs
 */

/**
 * What the link and the passcode open, every shown field proved; all of the shared records or none.
 * @param {Session} session
 * @param {ShareLink} link
 * @param {string} passcode
 */
export async function openShare(session, link, passcode) {
  if (link.origin !== location.origin) throw new Failure("link-elsewhere", { host: link.origin });
  const trusted = await session.refresh();
  const target = `/v1/shares/${toHex(link.share)}/${toHex(link.token)}`;
  const manifest = await getJson(target, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ recipient: "share.html", passcode }),
  });
  const files = Array.isArray(manifest.files) ? manifest.files.slice(0, FILES_MAX) : [];
  /** @type {SharedRecord[]} */
  const opened = [];
  for (const file of files) {
    const jwe = await fileText(file);
    const data = await openJwe(jwe, light.shareContentKey(link.token));
    opened.push(await checkShared(session, trusted, link, data));
  }
  const shown = new Set(opened.map((one) => one.listed.index));
  const wanted = opened[0]?.share.rows ?? [];
  if (wanted.length === 0 || shown.size !== wanted.length) throw new Failure("share-incomplete");
  return opened;
}

/** @param {any} file */
async function fileText(file) {
  if (typeof file?.embedded === "string") return file.embedded;
  if (typeof file?.location !== "string") throw new Failure("unreadable");
  const place = new URL(file.location, location.origin);
  if (place.host !== location.host) throw new Failure("unreadable");
  return new TextDecoder().decode(await getBytes(place.pathname));
}

/** The content of a compact JWE under a direct key (RFC 7516). @param {string} text @param {Uint8Array<ArrayBuffer>} key */
export async function openJwe(text, key) {
  try {
    const [header, wrapped, iv, sealed, tag, more] = text.split(".");
    const fields = JSON.parse(new TextDecoder().decode(fromBase64Url(header)));
    const known = fields.alg === "dir" && fields.enc === "A256GCM" && fields.cty === CONTENT_TYPE;
    if (!known || wrapped !== "" || more !== undefined) throw new TypeError("another form");
    const imported = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
    const [nonce, ...parts] = [iv, sealed, tag].map(fromBase64Url);
    const algorithm = { name: "AES-GCM", iv: nonce, additionalData: utf8(header) };
    const joined = await new Blob(parts).arrayBuffer();
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, imported, joined));
  } catch {
    throw new Failure("share-altered");
  }
}

/**
 * Checks, in this order: the share is that of the link and open at its header's time; the row is one of
 * its rows and its patient's; the row's status; the record's fields under the row's root, in the share's view.
 * @param {Session} session
 * @param {light.TrustedChain} trusted
 * @param {ShareLink} link
 * @param {Uint8Array} data
 * @returns {Promise<SharedRecord>}
 */
async function checkShared(session, trusted, link, data) {
  const fields = codec.array(codec.decode(data, FILE_BYTES_MAX, "shared record"), 7, "shared record");
  const [now, age] = [session.now(), session.maxAgeMs];
  const state = bundleOf(fields[0], light.StateBundle);
  const { share, header } = await light.verifyShare(trusted, state, link.share, link.token, now, age);
  const { index, row } = await checkRow(session, trusted, share, fields[1]);
  const statusBundle = bundleOf(fields[2], light.StateBundle);
  const key = light.rowStatus(row.hash);
  const status = await light.verifyStateBundle(trusted, statusBundle, key, now, age);
  const listed = { index, row, status: status.value === null ? null : statusOf(status.value) };
  const disclosure = codec.binary(fields[4], "disclosure", FILE_BYTES_MAX);
  const { rules } = await session.viewRules(share.view);
  const record = light.verifyRecord(listed, light.Disclosure.decode(disclosure), rules);
  const rowKey = fields[6] === null ? null : codec.fixed(fields[6], "row key", 32, "key");
  return {
    listed,
    record,
    rules,
    metadata: rowKey === null ? null : await metadataOf(row, rowKey),
    attachments: codec.arrayUpTo(fields[5], 4_096, "attachments")
      .map((item) => codec.binary(item, "attachment", FILE_BYTES_MAX)),
    share,
    header,
    ageMs: light.checkAge(header, now, age),
  };
}

/**
 * @param {Session} session
 * @param {light.TrustedChain} trusted
 * @param {Share} share
 * @param {codec.Value} value
 */
async function checkRow(session, trusted, share, value) {
  const bundle = bundleOf(value, light.LogEntriesBundle);
  const log = light.patientLog(share.patient);
  const entries = await light.verifyLogEntriesBundle(
    trusted, bundle, log, session.now(), session.maxAgeMs,
  );
  const [entry] = entries;
  if (entries.length !== 1 || !share.rows.includes(entry.index)) throw new Failure("share-altered");
  const row = light.decodePatientEntry(entry.entry);
  if (row.kind !== "row" || row.member !== share.holder || !equal(row.patient, share.patient)) {
    throw new Failure("share-altered");
  }
  return { index: Number(entry.index), row };
}

/** @param {Uint8Array} data */
function statusOf(data) {
  const fields = codec.array(codec.decode(data, 256, "row status"), 2, "row status");
  return light.oneOf(light.STATUSES, fields[0], "row status");
}

/**
 * @template {light.StateBundle | light.LogEntriesBundle} B
 * @param {codec.Value} value
 * @param {new (...args: any[]) => B} kind
 */
function bundleOf(value, kind) {
  return light.decodeBundleOf(codec.encode(value), kind);
}
