/**
 * Shares as their creator has them: links in the shape of SMART Health Links.
 * @module
 */

import { equal, fromHex, toHex, utf8 } from "../light/bytes.js";
import * as codec from "../light/codec.js";
import {
  encodeShare,
  shareContentKey,
  sharesLog,
  shareTokenHash,
  shareVerifier,
} from "../light/index.js";
import { fromBase64Url, toBase64Url } from "./base64.js";
import { execute } from "./actions.js";
import { Failure } from "./failures.js";
import { getJson } from "./http.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Identity} Identity */
/** @typedef {import("../light/residents.js").Share} Share */

const PREFIX = "shlink:/";
export const ROWS_MAX = 16;
export const ATTEMPTS_MAX = 10;
export const DAYS_MAX = 30;

/**
 * What a link says; nothing of it is proved but by what it leads to.
 * @typedef {object} ShareLink
 * @property {string} origin of the gateway that serves it
 * @property {Uint8Array} share
 * @property {Uint8Array} token
 * @property {Uint8Array} chainId of the consortium whose proofs the recipient wants
 * @property {number} expiresMs
 * @property {string} label
 */

/** @param {ShareLink} link */
export function linkText({ origin, share, token, chainId, expiresMs, label }) {
  const fields = {
    url: `${origin}/v1/shares/${toHex(share)}/${toHex(token)}`,
    key: toBase64Url(shareContentKey(token)),
    exp: Math.floor(expiresMs / 1000),
    flag: "P",
    label,
    v: 1,
    chain: toHex(chainId),
  };
  return PREFIX + toBase64Url(utf8(JSON.stringify(fields)));
}

/** Throws Failure. @param {string} text a link, alone or behind a page's address @returns {ShareLink} */
export function parseLink(text) {
  const start = text.indexOf(PREFIX);
  try {
    if (start < 0 || text.length > 2_048) throw new TypeError("no link");
    const body = fromBase64Url(text.slice(start + PREFIX.length));
    const fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    const url = new URL(fields.url);
    const place = /^\/v1\/shares\/([0-9a-f]{64})\/([0-9a-f]{64})$/.exec(url.pathname);
    if (place === null || fields.v !== 1) throw new TypeError("no link");
    const [share, token, chainId] = [place[1], place[2], fields.chain].map(fromHex);
    const key = fromBase64Url(fields.key);
    if (!equal(key, shareContentKey(token)) || chainId.length !== 32) throw new TypeError("no link");
    const label = String(fields.label ?? "").slice(0, 80);
    return { origin: url.origin, share, token, chainId, expiresMs: Number(fields.exp) * 1000, label };
  } catch {
    throw new Failure("link-damaged");
  }
}

/** The address that a QR code holds: the recipient's page of that gateway. @param {ShareLink} link */
export function shareAddress(link) {
  return `${link.origin}/share.html#${linkText(link)}`;
}

/** Where a hospital serves its shares: here, if it is the one that serves this page. @param {Session} session @param {string} holder */
async function originOf(session, holder) {
  const status = await getJson("/v1/chain/status");
  if (status.member === holder) return location.origin;
  const address = await session.gatewayOf(holder);
  if (address === "") throw new Failure("no-gateway", { hospital: session.nameOf(holder) });
  return new URL(address.includes("://") ? address : `https://${address}`).origin;
}

/**
 * @typedef {object} ShareWish
 * @property {readonly number[]} rows of one hospital, by index
 * @property {string} holder
 * @property {string} view
 * @property {number} untilMs
 * @property {string} passcode
 * @property {number} attempts
 * @property {string} label
 */

/**
 * Commits a share and proves that the chain holds it as it was wished; keeps and returns its link.
 * @param {Session} session
 * @param {Store} store
 * @param {Identity} identity
 * @param {ShareWish} wish
 */
export async function createShare(session, store, identity, wish) {
  const origin = await originOf(session, wish.holder);
  const token = crypto.getRandomValues(new Uint8Array(32));
  /** @type {Share} */
  const wanted = {
    patient: identity.patient,
    creator: fromHex(identity.keyId),
    holder: wish.holder,
    rows: [...wish.rows].sort((a, b) => a - b).map(BigInt),
    view: wish.view,
    tokenHash: shareTokenHash(token),
    verifier: shareVerifier(token, wish.passcode),
    untilMs: BigInt(wish.untilMs),
    attemptsLeft: wish.attempts,
    ended: false,
  };
  const id = await execute(session, identity, "share", "create", [
    wanted.rows, wanted.view, wanted.tokenHash, wanted.verifier, wanted.untilMs, BigInt(wish.attempts),
  ]);
  const { share } = await session.ownShare(id, identity.patient);
  if (!equal(encodeShare(share), encodeShare(wanted))) throw new Failure("not-proved");
  const link = {
    origin, share: id, token, chainId: session.chainId, expiresMs: wish.untilMs, label: wish.label,
  };
  const text = linkText(link);
  await store.put("links", { share: toHex(id), keyId: identity.keyId, link: text, label: wish.label });
  return link;
}

/**
 * All shares of a patient, newest first: proved complete, and each of that patient.
 * @param {Session} session
 * @param {Uint8Array} patient
 */
export async function allShares(session, patient) {
  const log = await session.log(sharesLog(patient));
  const ids = [...log.entries].reverse().map((entry) => codec.sized(entry, 32, "Hash32"));
  const shares = [];
  for (const id of ids) shares.push({ id, ...(await session.ownShare(id, patient)) });
  return { shares, header: log.header };
}
