"""Starting from a printed checkpoint, and asking two hospitals what they say of one height."""

from dataclasses import dataclass

from ledger.light.bundles import StateBundle, decode_bundle
from ledger.light.checkpoint import Checkpoint, CheckpointMismatch, trust_checkpoint
from ledger.light.trust import TrustedChain
from ledger.light.witnesses import Testimony, compare, encode_fork, hear_newest
from ledger.primitives import Hash32, MemberId
from ledger.types.genesis import Genesis
from ledger.types.membership import VOTERS_KEY, Membership, Voters
from nodes.client.chain import ChainClient


@dataclass(frozen=True, slots=True)
class Witness:
    """One hospital's server."""

    hospital: MemberId
    chain: ChainClient

    async def testify(self, trusted_height: int, height: int | None) -> Testimony:
        """What it says of a height, or of its newest one; not verified here."""
        # The header first: changes after it do not matter, and are left out.
        certified = await (
            self.chain.newest_header() if height is None else self.chain.header(height)
        )
        changes = await self.chain.membership_changes(trusted_height)
        known = (c for c in changes if c.certified.header.height <= certified.header.height)
        return Testimony(self.hospital, tuple(known), certified)


async def start_from(chain: ChainClient, checkpoint: Checkpoint) -> TrustedChain:
    """The chain trusted at a checkpoint; raises what ``trust_checkpoint`` raises."""
    certified = await chain.header(checkpoint.height)
    membership = await _membership(chain, checkpoint)
    return trust_checkpoint(checkpoint, certified, membership)


async def _membership(chain: ChainClient, checkpoint: Checkpoint) -> Membership:
    """The members of the printed hash, wherever the server has them: cheapest place first."""
    wanted = checkpoint.membership_hash
    bundle = decode_bundle(await chain.state(VOTERS_KEY))
    if isinstance(bundle, StateBundle) and bundle.value is not None:
        voters = Voters.decode(bundle.value)
        for membership in (voters.membership, voters.previous):
            if membership is not None and membership.hash == wanted:
                return membership
    for change in await chain.membership_changes(0):
        if change.membership.hash == wanted:
            return change.membership
    first = Genesis.decode(await chain.genesis()).membership
    if first.hash != wanted:
        raise CheckpointMismatch(checkpoint.height, "its membership was not shown")
    return first


async def compare_witnesses(
    trusted: TrustedChain, one: Witness, other: Witness, now_ms: int, max_age_ms: int
) -> TrustedChain:
    """What both say of the lower of their newest heights, where they agree.

    Raises WitnessRefused for the one that is stale or says what does not hold, and Forked.
    """
    heard = []
    for witness in (one, other):
        testimony = await witness.testify(trusted.height, None)
        newest = hear_newest(trusted, testimony, now_ms, max_age_ms)
        heard.append((newest.height, witness, testimony))
    lower, higher = sorted(heard, key=lambda each: each[0])
    again = await higher[1].testify(trusted.height, lower[0])
    return compare(trusted, lower[2], again)


async def fork_evidence(chain_id: Hash32, height: int, one: Witness, other: Witness) -> bytes:
    """What both say of a height, from genesis on: anyone can verify it alone."""
    return encode_fork(chain_id, await one.testify(0, height), await other.testify(0, height))
