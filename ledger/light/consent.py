"""What verified values say of a patient's wishes: directives and shares.

The functions named ``..._of`` take a value that was verified; they alone give it a meaning.
"""

from dataclasses import dataclass

from ledger.errors import PeerFault
from ledger.light.bundles import StateBundle
from ledger.light.trust import TrustedChain
from ledger.light.verify import VerifiedValue, verify_state_bundle
from ledger.primitives import Hash32, PatientKey
from ledger.types.block import Header
from ledger.types.residents import (
    Directive,
    Share,
    decode_directives,
    directives_key,
    share_key,
    share_token_hash,
)


@dataclass(eq=False)
class WrongShare(PeerFault):
    """The chain proves that a share is not the one that was asked for."""

    reason: str
    template = "share: {reason}; get its link again, and report this server if it is the same"


@dataclass(eq=False)
class ShareClosed(PeerFault):
    """A share could not be opened any more at the header that proves it."""

    state: str
    """ "ended", "expired" or "locked"."""
    height: int
    template = (
        "height {height}: the share was {state}, yet its server shows it; ask for a new share, "
        "and report this server"
    )


@dataclass(frozen=True, slots=True)
class VerifiedDirectives:
    """All directives of one patient under one verified header."""

    directives: tuple[Directive, ...]
    """Some may have ended: ``permits`` judges by ``header.time_ms``."""
    header: Header


@dataclass(frozen=True, slots=True)
class VerifiedShare:
    """A share as it is under a verified header."""

    share: Share
    header: Header

    @property
    def closed(self) -> str | None:
        """Why it could not be opened at the header's time; None if it could."""
        return self.share.closed(self.header.time_ms)


def verify_directives(
    trusted: TrustedChain, bundle: StateBundle, patient: PatientKey, now_ms: int, max_age_ms: int
) -> VerifiedDirectives:
    """What ``patient`` permits and forbids; none where the key is proved absent.

    Raises what ``verify_state_bundle`` raises, and NotCanonical, TooLarge or OutOfRange.
    """
    key = directives_key(patient)
    return directives_of(verify_state_bundle(trusted, bundle, key, now_ms, max_age_ms))


def directives_of(found: VerifiedValue) -> VerifiedDirectives:
    """The directives in a verified value; raises NotCanonical, TooLarge or OutOfRange."""
    value = found.value
    return VerifiedDirectives(() if value is None else decode_directives(value), found.header)


def verify_share(
    trusted: TrustedChain,
    bundle: StateBundle,
    share_id: Hash32,
    token: bytes,
    now_ms: int,
    max_age_ms: int,
) -> VerifiedShare:
    """The share of a link, for whoever has it; ``token`` is its 32 bytes.

    Raises what ``verify_state_bundle`` and ``share_of`` raise, WrongShare where the token is
    another, and ShareClosed where the contract would refuse an opening at the header's time. A
    server proves a share before it commits the opening, so an honest one shows an open share.
    """
    key = share_key(share_id)
    found = share_of(verify_state_bundle(trusted, bundle, key, now_ms, max_age_ms))
    if found.share.token_hash != share_token_hash(token):
        raise WrongShare("it has another token than the link")
    if found.closed is not None:
        raise ShareClosed(found.closed, found.header.height)
    return found


def verify_own_share(
    trusted: TrustedChain,
    bundle: StateBundle,
    share_id: Hash32,
    patient: PatientKey,
    now_ms: int,
    max_age_ms: int,
) -> VerifiedShare:
    """A share as its patient sees it, open or closed.

    Raises what ``verify_state_bundle`` and ``own_share_of`` raise.
    """
    key = share_key(share_id)
    found = verify_state_bundle(trusted, bundle, key, now_ms, max_age_ms)
    return own_share_of(found, patient)


def own_share_of(found: VerifiedValue, patient: PatientKey) -> VerifiedShare:
    """The share of a patient in a verified value.

    Raises what ``share_of`` raises, and WrongShare where it is of another patient.
    """
    own = share_of(found)
    if own.share.patient != patient:
        raise WrongShare("it is of another patient")
    return own


def share_of(found: VerifiedValue) -> VerifiedShare:
    """The share in a verified value.

    Raises WrongShare where there is none, and NotCanonical, TooLarge or OutOfRange.
    """
    if found.value is None:
        raise WrongShare("the chain holds none of that id")
    return VerifiedShare(Share.decode(found.value), found.header)
