"""The network as its newest verified state has it, through whichever validator answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ledger import codec
from ledger.errors import LedgerError, PeerFault, WorldFault
from ledger.primitives import Hash32, MemberId
from ledger.types.entries import member_key
from ledger.types.genesis import Genesis, Member
from ledger.types.governance import (
    HOSPITALS_KEY,
    PROPOSALS_LOG,
    Proposal,
    decode_hospitals,
    proposal_key,
)
from ledger.types.membership import VOTERS_KEY, Voters
from nodes.client.chain import ChainClient
from nodes.client.connect import member_of, node_of
from nodes.client.http import AnswerUnreadable, HttpClient
from nodes.client.session import LightSession
from nodes.transport.pki import TlsFiles

ANSWER_SECONDS = 5.0
"""A validator that does not answer within this time counts as down."""
_ANY_AGE_MS = 2**62
"""A network that stands still is looked at, too: governance may be what it needs."""


@dataclass(eq=False)
class NobodyAnswers(WorldFault):
    """No validator of the genesis document can be reached."""

    network: str
    template = "no validator of {network} answers: see `yilian status`, and try again"


@asynccontextmanager
async def any_validator(
    genesis: Genesis, own: TlsFiles, prefer: str
) -> AsyncIterator[LightSession]:
    """A session with the validator of ``genesis`` that is furthest; among equals, ``prefer``.

    Its answers are verified, so that the wrong choice costs time only. Raises NobodyAnswers.
    """
    async with AsyncExitStack() as stack:
        hospitals = [member.id for member in genesis.members if member.kind == "hospital"]
        ordered = sorted(hospitals, key=lambda member: member != prefer)
        clients = [
            await stack.enter_async_context(node_of(member_of(genesis, member), own))
            for member in ordered
        ]
        heights = await asyncio.gather(*map(_height, clients))
        highest = max(heights)
        if highest < 0:
            raise NobodyAnswers(genesis.network)
        best = clients[heights.index(highest)]
        yield LightSession(ChainClient(best), genesis, max_age_ms=_ANY_AGE_MS)


async def _height(client: HttpClient) -> int:
    """The height that a validator claims; -1 where it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            height = (await ChainClient(client).status()).get("height")
    except (LedgerError, TimeoutError):
        return -1
    return height if isinstance(height, int) and not isinstance(height, bool) else -1


async def hospitals_of(session: LightSession) -> tuple[Member, ...]:
    """All hospitals of the network, voting or not; sorted by id."""
    found = await session.state(HOSPITALS_KEY)
    names = decode_hospitals(_value(session, found.value))
    members = [await find_member(session, name) for name in names]
    return tuple(member for member in members if member is not None)


async def find_member(session: LightSession, name: MemberId) -> Member | None:
    """The organisation of that id."""
    value = (await session.state(member_key(name))).value
    return None if value is None else Member.from_value(codec.decode(value, len(value), "member"))


async def voters_of(session: LightSession) -> Voters:
    """Who votes on the next height."""
    return Voters.decode(_value(session, (await session.state(VOTERS_KEY)).value))


async def proposals_of(session: LightSession) -> tuple[tuple[Hash32, Proposal], ...]:
    """Every proposal that was ever made, oldest first."""
    ids = [Hash32(entry) for entry in (await session.log(PROPOSALS_LOG))[1].entries]
    return tuple([(each, await find_proposal(session, each)) for each in ids])


async def find_proposal(session: LightSession, proposal: Hash32) -> Proposal:
    """The proposal of that id; raises UnknownProposal."""
    value = (await session.state(proposal_key(proposal))).value
    if value is None:
        raise UnknownProposal(proposal)
    return Proposal.decode(value)


@dataclass(eq=False)
class UnknownProposal(PeerFault):
    """The chain has no such proposal, which is proved."""

    proposal: Hash32
    template = "there is no proposal {proposal}: see `yilian governance list`"


def _value(session: LightSession, value: bytes | None) -> bytes:
    if value is None:
        raise AnswerUnreadable(session.chain.http.base_url, "its chain has no hospitals")
    return value
