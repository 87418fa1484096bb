/**
 * Bounds of the protocol that a light client checks: those of the Python package, of which a test
 * compares each.
 * @module
 */

export const PROTOCOL_VERSION = 2;
export const EXECUTION_VERSION = 3;
export const U64_MAX = 2n ** 64n - 1n;

export const CODEC_DEPTH_MAX = 16;
export const CODEC_ITEMS_MAX = 262_144;
export const TRANSACTION_BYTES_MAX = 65_536;
export const BLOCK_TRANSACTIONS_MAX = 2_000;
export const ROWS_PER_TRANSACTION_MAX = 200;
export const SEALED_BYTES_MAX = 1_024;
export const BLOCK_TIME_AHEAD_MAX_MS = 5_000;
export const VALIDATORS_MAX = 128;
export const MEMBERS_MAX = 1_024;
export const USERS_IN_GENESIS_MAX = 10_000;
export const COMMITMENT_FIELDS_MAX = 200_000;
export const FIELD_PATH_BYTES_MAX = 1_024;
export const DISCLOSURE_BYTES_MAX = 64 * 1024 * 1024;
export const SALT_BYTES = 16;
export const VIEW_VERSIONS_MAX = 256;
export const PERMISSION_HEIGHTS = 1_000;
export const RESIDENT_KEYS_MAX = 4;
export const DIRECTIVES_MAX = 64;
export const SHARE_ROWS_MAX = 16;
export const SHARE_ATTEMPTS_MAX = 10;
export const SEALING_NONCE_BYTES = 12;
export const METADATA_BYTES_MAX = SEALED_BYTES_MAX - SEALING_NONCE_BYTES - 16;

export const PUBLIC_KEY_BYTES_MAX = 256;
export const SIGNATURE_BYTES = 65;
export const HEADER_BYTES_MAX = 512;
export const MEMBERSHIP_BYTES_MAX = VALIDATORS_MAX * (PUBLIC_KEY_BYTES_MAX + 64);
export const CERTIFICATE_BYTES_MAX = 128 + VALIDATORS_MAX * (SIGNATURE_BYTES + 8);
export const CERTIFIED_HEADER_BYTES_MAX = CERTIFICATE_BYTES_MAX + HEADER_BYTES_MAX + 16;
export const GENESIS_BYTES_MAX = 16 * 1024 * 1024;
export const ENTRY_BYTES_MAX = SEALED_BYTES_MAX + 512;

export const STATE_DEPTH_MAX = 256;
export const STATE_PROOF_BYTES_MAX = 9_216;
export const STATE_KEY_BYTES_MAX = 256;
export const STATE_VALUE_BYTES_MAX = TRANSACTION_BYTES_MAX;
export const LOG_ENTRY_BYTES_MAX = 4_096;
export const LOG_ENTRIES_MAX = 65_536;
export const BUNDLE_BYTES_MAX = 128 * 1024 * 1024;
export const MEMBERSHIP_CHANGES_MAX = 4_096;
export const CHANGES_BYTES_MAX = 32 * 1024 * 1024;
export const PAGE_ENTRIES_MAX = 1_000;
export const INCLUSION_PATH_MAX = 64;
export const HEADER_AHEAD_MAX_MS = 2 * BLOCK_TIME_AHEAD_MAX_MS;
export const TRUSTED_CHAIN_BYTES_MAX = 2 * MEMBERSHIP_BYTES_MAX + 256;
export const SAVED_PROOF_BYTES_MAX = BUNDLE_BYTES_MAX + CHANGES_BYTES_MAX + DISCLOSURE_BYTES_MAX;
export const RULES_BYTES_MAX = 256 * 1024;
export const CHECKPOINT_BYTES_MAX = 128;
export const FORK_BYTES_MAX = 2 * (CHANGES_BYTES_MAX + CERTIFIED_HEADER_BYTES_MAX) + 256;
