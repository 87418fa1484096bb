/**
 * The light client: from the genesis bytes alone, verifies what any server says.
 *
 * Everything a page needs, under one name; docs/light-client.md says how the pieces fit.
 * @module
 */

export * from "./errors.js";
export {
  decodeBundle,
  decodeBundleOf,
  decodeChanges,
  encodeChanges,
  LogBundle,
  LogEntriesBundle,
  LogEntryBundle,
  MembershipChange,
  StateBundle,
} from "./bundles.js";
export { fromHex, toHex } from "./bytes.js";
export { CertifiedHeader, Header, verifyCertifiedHeader } from "./certificate.js";
export { Checkpoint, trustCheckpoint } from "./checkpoint.js";
export { verifyDirectives, verifyOwnShare, verifyShare } from "./consent.js";
export { Disclosure, verifyDisclosure } from "./disclosure.js";
export {
  accessLog,
  decodeDisclosed,
  decodePatientEntry,
  decodePermission,
  decodeViewHashes,
  memberKey,
  patientLog,
  permissionKey,
  releaseLog,
  rowStatus,
  STATUSES,
  userKey,
  viewKey,
} from "./entries.js";
export { decodeMember, decodeUserKey, Genesis } from "./genesis.js";
export { PublicKey } from "./keys.js";
export { Membership } from "./membership.js";
export { verifyConsistency, verifyInclusion } from "./merkle.js";
export { certificateOf, grantKey, verifyPermissionCertificate } from "./permissions.js";
export {
  hidingRule,
  listOf,
  recordUnder,
  releasedRecord,
  RuleBook,
  ruleBook,
  verifyAccessLog,
  verifyDeidentified,
  verifyPatientList,
  verifyRecord,
} from "./records.js";
export {
  closed,
  copiesKey,
  decodeCopies,
  decodeDirectives,
  decodeResidentKeys,
  decodeShare,
  directivesKey,
  encodeDirectives,
  encodeShare,
  oneOf,
  permits,
  residentKeysKey,
  sameSubject,
  shareContentKey,
  shareKey,
  sharesLog,
  shareTokenHash,
  shareVerifier,
} from "./residents.js";
export { decodeMetadata, openSealed } from "./sealing.js";
export { SavedProof, verifySavedProof } from "./saved.js";
export { advance, checkAge, follow, TrustedChain, trustGenesis, verifyHeader } from "./trust.js";
export {
  verifyLogBundle,
  verifyLogEntriesBundle,
  verifyLogEntryBundle,
  verifyStateBundle,
} from "./verify.js";
export { ViewRules } from "./view_rules.js";
export { compareWitnesses, encodeFork, hear, hearNewest, Testimony, verifyFork } from "./witnesses.js";
