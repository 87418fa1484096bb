"""Every bound of the protocol, with its unit in its name; relations are checked at import."""

PROTOCOL_VERSION = 2
"""Version of the wire formats; a change of any vector raises it."""
EXECUTION_VERSION = 3
"""Version of the state transition; part of every header (D3)."""

CODEC_DEPTH_MAX = 16
"""Nesting of arrays and maps in one encoded value."""
CODEC_ITEMS_MAX = 262_144
"""Elements of one array or map, and arrays and maps in one value; the disclosure of a whole record
has most of both."""

TRANSACTION_BYTES_MAX = 65_536
"""One signed transaction: index records only, never bulk."""
ROWS_PER_TRANSACTION_MAX = 200
"""Index rows in one registration; 200 rows of 300 bytes stay under TRANSACTION_BYTES_MAX."""
ROOTS_PER_RELEASE_MAX = 1_000
"""De-identified roots in one release."""
BLOCK_TRANSACTIONS_MAX = 2_000
BLOCK_BYTES_MAX = 2 * 1024 * 1024
FRAME_BYTES_MAX = 4 * 1024 * 1024
"""One message between validators: a NEW-VIEW with its proposal must fit."""
SEALED_BYTES_MAX = 1_024
"""Sealed metadata of one row."""

VALID_UNTIL_HEIGHTS_MAX = 1_000
"""How far ahead ``valid_until_height`` may lie; executed ids are remembered that long."""
PROOF_HEIGHTS = 64
"""Newest heights for which state proofs are served."""
LOG_PIECE_ENTRIES = 512
"""Entries of a log under one stored hash; a power of two, and a piece fits a frame."""
SNAPSHOT_INTERVAL_HEIGHTS = 1_000
"""A node keeps a snapshot for others at each multiple of so many heights."""
SNAPSHOTS_KEPT = 2
"""The newest ones: who fetches one has until the second next to finish."""
SNAPSHOT_HEIGHTS_MIN = 1_000
"""An empty node fetches a snapshot of at least this height; below it executes the blocks."""
VIEW_VERSIONS_MAX = 256
"""Versions that the rules of one view may ever have."""
PERMISSION_HEIGHTS = 1_000
"""How long a committed permission to read stays usable."""
RESIDENT_KEYS_MAX = 4
"""Keys that act for one patient at a time."""
RESIDENT_KEY_MS_MAX = 10 * 366 * 24 * 3600 * 1000
"""How long a resident's key may be valid: ten years."""
DIRECTIVES_MAX = 64
"""Directives of one patient."""
COPY_MS_MAX = 30 * 24 * 3600 * 1000
"""How long an approved full copy may be read: 30 days."""
SHARE_ROWS_MAX = 16
SHARE_MS_MAX = 30 * 24 * 3600 * 1000
"""How long a share may be opened: 30 days."""
SHARE_ATTEMPTS_MAX = 10
"""Wrong passcodes after which a share is locked, at most."""
PROPOSAL_HEIGHTS = 100_000
"""How long a proposal of the hospitals waits for approvals."""
EVIDENCE_HEIGHTS = 100_000
"""How old a double vote may be that is still recorded."""

BLOCK_TIME_AHEAD_MAX_MS = 5_000
"""A replica that votes live refuses a block further ahead of its own clock (T1)."""

MEMPOOL_TRANSACTIONS_MAX = 10_000
MEMPOOL_BYTES_MAX = 64 * 1024 * 1024
MEMPOOL_PER_MEMBER_MAX = 5_000

VALIDATORS_MAX = 128
MEMBERS_MAX = 1_024
USERS_IN_GENESIS_MAX = 10_000

COMMITMENT_FIELDS_MAX = 200_000
"""Leaves of one record; a DICOM study has one per attribute and frame."""
FIELD_PATH_BYTES_MAX = 1_024
DISCLOSURE_BYTES_MAX = 64 * 1024 * 1024
"""One disclosure; a record whose whole disclosure would be larger is refused."""
SALT_BYTES = 16

if not TRANSACTION_BYTES_MAX < BLOCK_BYTES_MAX < FRAME_BYTES_MAX:
    raise RuntimeError("limits: a transaction fits a block, a block fits a frame")
if BLOCK_TRANSACTIONS_MAX > MEMPOOL_TRANSACTIONS_MAX:
    raise RuntimeError("limits: the mempool holds at least one full block")
if SEALED_BYTES_MAX + 200 > TRANSACTION_BYTES_MAX:
    raise RuntimeError("limits: one row of the largest size fits a transaction")
# One array for each field, for ``@dependencies``, for all shown, all hidden, and for the whole.
if COMMITMENT_FIELDS_MAX + 4 > CODEC_ITEMS_MAX:
    raise RuntimeError("limits: a whole record and its dependencies fit one disclosure")
