"""Verifies proof bundles: one state value, one complete log, one entry of a log.

Each ``verify_...`` function checks the header first (``trust.verify_header``), then its age
(LIGHT-3), then the content, whose checks alone are the functions named ``..._under``.
"""

from dataclasses import dataclass
from itertools import pairwise

from ledger.errors import PeerFault, ProofInvalid
from ledger.light.bundles import LogBundle, LogEntriesBundle, LogEntryBundle, StateBundle
from ledger.light.trust import TrustedChain, check_age, verify_header
from ledger.merkle import log_tree, proof
from ledger.types.block import Header
from ledger.types.entries import LogRoot


@dataclass(eq=False)
class WrongKey(PeerFault):
    """A true answer to another question: the bundle is about another state key."""

    what: str
    template = "{what}: the answer is about another key than the one that was asked for"


@dataclass(eq=False)
class ListIncomplete(PeerFault):
    """A list has another number of entries than the chain has counted (LIGHT-2)."""

    got: int
    counted: int
    template = (
        "list: {got} entries were sent, the chain counts {counted}; "
        "ask another server and report this one"
    )


@dataclass(frozen=True, slots=True)
class VerifiedValue:
    """The value of a state key under a verified header."""

    value: bytes | None
    """None: the key is absent."""
    header: Header


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """All entries of a log under a verified header."""

    entries: tuple[bytes, ...]
    header: Header


@dataclass(frozen=True, slots=True)
class VerifiedEntry:
    """One entry of a log under a verified header."""

    index: int
    entry: bytes
    count: int
    """Entries that the log has."""
    header: Header


def verify_state_bundle(
    trusted: TrustedChain, bundle: StateBundle, key: bytes, now_ms: int, max_age_ms: int
) -> VerifiedValue:
    """The value of ``key``, or its proved absence.

    Raises what ``verify_header``, ``check_age`` and ``state_under`` raise.
    """
    header = _fresh_header(trusted, bundle, now_ms, max_age_ms)
    return state_under(header, bundle, key)


def verify_log_bundle(
    trusted: TrustedChain, bundle: LogBundle, log_key: bytes, now_ms: int, max_age_ms: int
) -> VerifiedLog:
    """All entries of the log at ``log_key``: complete, in order, nothing added (LIGHT-2).

    Raises what ``verify_header``, ``check_age`` and ``log_under`` raise.
    """
    header = _fresh_header(trusted, bundle.state, now_ms, max_age_ms)
    return log_under(header, bundle, log_key)


def verify_log_entry_bundle(
    trusted: TrustedChain, bundle: LogEntryBundle, log_key: bytes, now_ms: int, max_age_ms: int
) -> VerifiedEntry:
    """One entry of the log at ``log_key``, at the place that it claims.

    Raises what ``verify_header``, ``check_age`` and ``log_entry_under`` raise.
    """
    header = _fresh_header(trusted, bundle.state, now_ms, max_age_ms)
    return log_entry_under(header, bundle, log_key)


def verify_log_entries_bundle(
    trusted: TrustedChain, bundle: LogEntriesBundle, log_key: bytes, now_ms: int, max_age_ms: int
) -> tuple[VerifiedEntry, ...]:
    """Some entries of the log at ``log_key``, by rising index.

    Raises what ``verify_header``, ``check_age`` and ``log_entries_under`` raise.
    """
    header = _fresh_header(trusted, bundle.state, now_ms, max_age_ms)
    return log_entries_under(header, bundle, log_key)


def state_under(header: Header, bundle: StateBundle, key: bytes) -> VerifiedValue:
    """The value under a header that the caller verified; raises WrongKey or ProofInvalid."""
    if bundle.key != key:
        raise WrongKey("state bundle")
    proof.verify_state(bundle.proof, key, bundle.value, header.state_root)
    return VerifiedValue(bundle.value, header)


def log_under(header: Header, bundle: LogBundle, log_key: bytes) -> VerifiedLog:
    """The entries under a header that the caller verified. Checks, cheap ones first:

    a) the state value: WrongKey, ProofInvalid; that it is a log's: NotCanonical, TooLarge
    b) as many entries as it counts: ListIncomplete
    c) the root over all entries: ProofInvalid
    """
    value = state_under(header, bundle.state, log_key).value
    if value is None:
        if bundle.entries:
            raise ListIncomplete(len(bundle.entries), 0)
        return VerifiedLog((), header)
    log = LogRoot.decode(value)
    if len(bundle.entries) != log.count:
        raise ListIncomplete(len(bundle.entries), log.count)
    if log_tree.root_of([log_tree.leaf_hash(entry) for entry in bundle.entries]) != log.root:
        raise ProofInvalid("log", "the entries do not give the root that the chain holds")
    return VerifiedLog(bundle.entries, header)


def log_entry_under(header: Header, bundle: LogEntryBundle, log_key: bytes) -> VerifiedEntry:
    """The entry under a header that the caller verified.

    Raises WrongKey, ProofInvalid, NotCanonical or TooLarge.
    """
    alone = LogEntriesBundle(bundle.state, ((bundle.index, bundle.entry, bundle.path),))
    return log_entries_under(header, alone, log_key)[0]


def log_entries_under(
    header: Header, bundle: LogEntriesBundle, log_key: bytes
) -> tuple[VerifiedEntry, ...]:
    """The entries under a header that the caller verified. Checks, cheap ones first:

    a) the state value: WrongKey, ProofInvalid; that it is a log's: NotCanonical, TooLarge
    b) the indexes rise, so that none is given twice: ProofInvalid
    c) each entry's inclusion at its index: ProofInvalid
    """
    value = state_under(header, bundle.state, log_key).value
    if value is None:
        if bundle.items:
            raise ProofInvalid("log entry", "the log is absent")
        return ()
    log = LogRoot.decode(value)
    indexes = [index for index, _, _ in bundle.items]
    if any(a >= b for a, b in pairwise(indexes)):
        raise ProofInvalid("log entries", "the indexes do not rise")
    for index, entry, path in bundle.items:
        proof.verify_inclusion(entry, index, log.count, path, log.root)
    return tuple(VerifiedEntry(i, entry, log.count, header) for i, entry, _ in bundle.items)


def _fresh_header(
    trusted: TrustedChain, bundle: StateBundle, now_ms: int, max_age_ms: int
) -> Header:
    header = verify_header(trusted, bundle.certified)
    check_age(header, now_ms, max_age_ms)
    return header
