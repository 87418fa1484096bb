/**
 * Permission certificates: what covered a disclosure that stands in a patient's access log
 * (ledger/light/permissions.py).
 *
 * The contract decides by more than the permission: by the key, the directives and the full copies
 * of that block. Of these the state holds only what they are now, so no certificate proves them.
 * @module
 */

import { equal } from "./bytes.js";
import { decodePermission, permissionKey } from "./entries.js";
import { DisclosureNotCovered } from "./errors.js";
import { PERMISSION_HEIGHTS } from "./limits.js";
import { decodeShare, shareKey } from "./residents.js";
import { verifyStateBundle } from "./verify.js";

/** @typedef {import("./bundles.js").StateBundle} StateBundle */
/** @typedef {import("./certificate.js").Header} Header */
/** @typedef {import("./entries.js").Disclosed} Disclosed */
/** @typedef {import("./entries.js").Permission} Permission */
/** @typedef {import("./residents.js").Share} Share */
/** @typedef {import("./trust.js").TrustedChain} TrustedChain */
/** @typedef {import("./verify.js").VerifiedValue} VerifiedValue */

/**
 * The permission or share that covered a disclosure, as it is at `header`; one of them is null.
 * @typedef {{permission: Permission, share: null, header: Header} | {permission: null, share: Share, header: Header}} PermissionCertificate
 */

/** State key of the permission or share that an entry names. @param {Disclosed} entry */
export function grantKey({ basis, permission }) {
  return basis === "share" ? shareKey(permission) : permissionKey(permission);
}

/**
 * What covered `entry`, which is one of `patient`'s verified access log.
 * @param {TrustedChain} trusted
 * @param {StateBundle} bundle
 * @param {Disclosed} entry
 * @param {Uint8Array} patient
 * @param {bigint} nowMs
 * @param {bigint} maxAgeMs
 */
export async function verifyPermissionCertificate(trusted, bundle, entry, patient, nowMs, maxAgeMs) {
  const found = await verifyStateBundle(trusted, bundle, grantKey(entry), nowMs, maxAgeMs);
  return certificateOf(found, entry, patient);
}

/**
 * The same from the verified value of `grantKey(entry)`; throws DisclosureNotCovered.
 * @param {VerifiedValue} found
 * @param {Disclosed} entry
 * @param {Uint8Array} patient
 * @returns {PermissionCertificate}
 */
export function certificateOf({ value, header }, entry, patient) {
  if (value === null) {
    throw new DisclosureNotCovered(entry.height, "the chain holds nothing that it names");
  }
  if (entry.basis === "share") {
    const share = decodeShare(value);
    check(entry, againstShare(share, entry, patient));
    return { permission: null, share, header };
  }
  const permission = decodePermission(value);
  check(entry, againstPermission(permission, entry, patient));
  return { permission, share: null, header };
}

/** @param {Disclosed} entry @param {string | null} against */
function check(entry, against) {
  if (against !== null) throw new DisclosureNotCovered(entry.height, against);
}

/** @param {Permission} permission @param {Disclosed} entry @param {Uint8Array} patient */
function againstPermission(permission, entry, patient) {
  if (permission.patient === null || !equal(permission.patient, patient)) {
    return "the permission is not about this patient";
  }
  if (!equal(permission.reader, entry.reader) || permission.readerMember !== entry.readerMember) {
    return "the permission was given to another reader";
  }
  if (permission.view !== entry.view) return "the permission is for another view";
  if (permission.purpose !== entry.purpose) return "the permission is for another purpose";
  // Who breaks the glass states the emergency in the permission.
  if (entry.basis === "break-glass" && entry.purpose !== "ETREAT") {
    return "a break-glass without an emergency";
  }
  // A revocation sets the last height below its own, and what its block disclosed before stands.
  if (entry.height > permission.expires + 1n) return "the permission had ended";
  if (entry.height + BigInt(PERMISSION_HEIGHTS) < permission.expires) {
    return "the permission was given later";
  }
  return null;
}

/** @param {Share} share @param {Disclosed} entry @param {Uint8Array} patient */
function againstShare(share, entry, patient) {
  if (!equal(share.patient, patient)) return "the share is of another patient";
  if (!equal(share.creator, entry.reader)) return "the share was made by another key";
  if (share.holder !== entry.holder || share.holder !== entry.readerMember) {
    return "the share is of another hospital";
  }
  if (share.view !== entry.view) return "the share is of another view";
  if (entry.purpose !== "PATRQT") return "a share is opened at the patient's request only";
  if (share.rows.join() !== entry.rows.join()) return "the share is of other records";
  if (entry.timeMs >= share.untilMs) return "the share had expired";
  return null;
}
