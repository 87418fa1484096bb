/**
 * What verified values say of a patient's wishes: directives and shares (ledger/light/consent.py).
 * @module
 */

import { equal } from "./bytes.js";
import { ShareClosed, WrongShare } from "./errors.js";
import {
  closed,
  decodeDirectives,
  decodeShare,
  directivesKey,
  shareKey,
  shareTokenHash,
} from "./residents.js";
import { verifyStateBundle } from "./verify.js";

/** @typedef {import("./bundles.js").StateBundle} StateBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./residents.js").Directive} Directive */
/** @typedef {import("./residents.js").Share} Share */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */

/** @typedef {{directives: readonly Directive[], header: Header}} VerifiedDirectives some may have ended: `permits` judges by the header's time */
/** @typedef {{share: Share, closed: string | null, header: Header}} VerifiedShare `closed`: why it could not be opened at the header's time */

/**
 * What `patient` permits and forbids; none where the key is proved absent.
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Uint8Array} patient
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 * @returns {Promise<VerifiedDirectives>}
 */
export async function verifyDirectives(trusted, bundle, patient, nowMs, maxAgeMs) {
  const key = directivesKey(patient);
  const { value, header } = await verifyStateBundle(trusted, bundle, key, nowMs, maxAgeMs);
  return { directives: value === null ? [] : decodeDirectives(value), header };
}

/**
 * The share of a link, for whoever has it. Throws WrongShare where the token is another, and
 * ShareClosed where the contract would refuse an opening at the header's time. A server proves a
 * share before it commits the opening, so an honest one shows an open share.
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Uint8Array} shareId
 * @param {Uint8Array} token 32 bytes
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyShare(trusted, bundle, shareId, token, nowMs, maxAgeMs) {
  const found = await shareAt(trusted, bundle, shareId, nowMs, maxAgeMs);
  if (!equal(found.share.tokenHash, shareTokenHash(token))) {
    throw new WrongShare("it has another token than the link");
  }
  if (found.closed !== null) throw new ShareClosed(found.closed, found.header.height);
  return found;
}

/**
 * A share as its patient sees it, open or closed. Throws WrongShare where it is of another patient.
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Uint8Array} shareId
 * @param {Uint8Array} patient
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyOwnShare(trusted, bundle, shareId, patient, nowMs, maxAgeMs) {
  const found = await shareAt(trusted, bundle, shareId, nowMs, maxAgeMs);
  if (!equal(found.share.patient, patient)) throw new WrongShare("it is of another patient");
  return found;
}

/**
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Uint8Array} shareId
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 * @returns {Promise<VerifiedShare>}
 */
async function shareAt(trusted, bundle, shareId, nowMs, maxAgeMs) {
  const key = shareKey(shareId);
  const { value, header } = await verifyStateBundle(trusted, bundle, key, nowMs, maxAgeMs);
  if (value === null) throw new WrongShare("the chain holds none of that id");
  const share = decodeShare(value);
  return { share, closed: closed(share, header.timeMs), header };
}
