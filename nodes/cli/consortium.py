"""What the commands of a hospital's administrator do: governance and key renewal."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger import codec
from ledger.errors import OutOfRange, PeerFault, WorldFault
from ledger.light.view_rules import RULES_BYTES_MAX, ViewRules
from ledger.limits import PROPOSAL_HEIGHTS, TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32, MemberId
from ledger.quorum import quorum
from ledger.types.genesis import Member
from ledger.types.governance import (
    Admit,
    Change,
    GiveVote,
    Proposal,
    SetViewRules,
    TakeVote,
    change_from_value,
)
from nodes.cli.output import BadArgument, read_file
from nodes.cli.show import Members
from nodes.cli.status import Asked, Status, gather_status
from nodes.client.network import (
    any_validator,
    find_proposal,
    hospitals_of,
    proposals_of,
    voters_of,
)
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient
from nodes.config import NodeConfig, load_config, load_genesis
from nodes.signer.key_files import FileSigner
from nodes.transport.peer_links import Address
from nodes.transport.pki import check_authority
from nodes.view_rules.files import known_rules

NEAR_HEIGHTS = 10
"""A new voter that lags further behind is not ready to vote."""


@dataclass(eq=False)
class WouldStop(WorldFault):
    """After a change of votes too few validators would be live (M2)."""

    live: int
    voters: int
    needed: int
    missing: str
    template = (
        "after this change {live} of {voters} validators would be live and {needed} must be; not "
        "live are {missing}: start them first, or say --even-if-it-stops"
    )


@asynccontextmanager
async def _session(config: NodeConfig) -> AsyncIterator[LightSession]:
    genesis = load_genesis(config.genesis)
    async with any_validator(genesis, config.tls, config.member) as session:
        yield session


def change_of_vote(kind: type[GiveVote] | type[TakeVote], member: str) -> Change:
    """The change that gives or takes a vote; raises BadArgument."""
    try:
        return kind(MemberId(member))
    except OutOfRange:
        raise BadArgument("MEMBER", f"{member!r} is no member id; see `yilian status`") from None


def read_view_rules(file: Path) -> SetViewRules:
    """The change that puts a rule file into force; raises BadArgument.

    Only a file that this version ships: what no gateway can read would stop all reading.
    """
    data = read_file(file, RULES_BYTES_MAX, "FILE")
    try:
        rules = ViewRules.decode(data)
    except PeerFault as fault:
        raise BadArgument("FILE", f"{file}: {fault}") from None
    if rules.hash not in known_rules():
        raise BadArgument("FILE", f"{file}: this version of yilian does not ship it")
    return SetViewRules(rules.view, rules.hash)


def read_admission(file: Path) -> Admit:
    """What a new organisation wrote with `yilian network join`; raises BadArgument.

    Endpoints and authority are checked here, because the chain does not know what they mean.
    """
    data = read_file(file, TRANSACTION_BYTES_MAX, "FILE")
    try:
        change = change_from_value(codec.decode(data, TRANSACTION_BYTES_MAX, "admission"))
        if not isinstance(change, Admit):
            raise BadArgument("FILE", f"{file} is another change than an admission")
        check_authority(change.member)
    except PeerFault as fault:
        raise BadArgument("FILE", f"{file}: {fault}; see `yilian network join`") from None
    places = change.member.endpoints
    if change.member.kind == "hospital" and Address.parse(places.peer) is None:
        raise BadArgument("FILE", f"{file}: its endpoint for peers is not host:port")
    return change


async def propose(file: Path, change: Change, even_if_it_stops: bool) -> Members:
    """Proposes a change, and approves it as the own hospital."""
    config = load_config(NodeConfig, file)
    async with _session(config) as session:
        if not even_if_it_stops:
            await _check_live(session, config, change)
        return await _execute(session, config, "propose", [change.to_value()])


async def approve(file: Path, proposal: bytes, even_if_it_stops: bool) -> Members:
    """Approves a proposal as the own hospital."""
    config = load_config(NodeConfig, file)
    async with _session(config) as session:
        found = await find_proposal(session, Hash32(proposal))
        if not even_if_it_stops:
            await _check_live(session, config, found.change)
        return await _execute(session, config, "approve", [proposal])


async def _execute(
    session: LightSession, config: NodeConfig, action: str, args: Sequence[codec.Value]
) -> Members:
    signer = FileSigner.load(config.user_key("administrator"))
    client = TransactionClient(session.chain, session.genesis.chain_id, signer)
    receipt = await client.execute("governance", action, args)
    proposal, carried = codec.array(receipt.fields, 2, "receipt")
    return {
        "proposal": codec.binary(proposal, "receipt", Hash32.SIZE).hex(),
        "carried": bool(codec.uint(carried, "receipt", 1)),
    }


async def list_proposals(file: Path, everything: bool) -> list[Members]:
    """Proposals that wait, or all that ever were, oldest first; proved complete."""
    config = load_config(NodeConfig, file)
    async with _session(config) as session:
        found = await proposals_of(session)
        height = session.trusted.height
        voting = [v.member for v in (await voters_of(session)).membership.validators]
    shown = [_members(each, proposal, height, voting) for each, proposal in found]
    return [item for item in shown if everything or item["state"] == "open"]


def _members(each: Hash32, proposal: Proposal, height: int, voting: Sequence[str]) -> Members:
    lapsed = height >= proposal.height + PROPOSAL_HEIGHTS
    return {
        "proposal": each.hex(),
        **_change_members(proposal.change),
        "height": proposal.height,
        "approved_by": list(proposal.approvals),
        "approvals_that_count": sum(name in voting for name in proposal.approvals),
        "needed": quorum(len(voting)),
        "state": "carried" if proposal.carried else "lapsed" if lapsed else "open",
    }


def _change_members(change: Change) -> Members:
    match change:
        case Admit(member=member):
            return {"change": "admit", "member": member.id}
        case GiveVote(member=name):
            return {"change": "give-vote", "member": name}
        case TakeVote(member=name):
            return {"change": "take-vote", "member": name}
        case SetViewRules(view=view, rules=rules):
            return {"change": "set-view-rules", "view": view, "rules": rules.hex()}


# -- whether the chain would go on (M2) ---------------------------------------------------------


async def _check_live(session: LightSession, config: NodeConfig, change: Change) -> None:
    """Raises WouldStop where the change of a vote would leave fewer live validators than needed."""
    if isinstance(change, Admit | SetViewRules):
        return
    hospitals = await hospitals_of(session)
    voting = {v.member for v in (await voters_of(session)).membership.validators}
    after = voting | {change.member} if isinstance(change, GiveVote) else voting - {change.member}
    found = await gather_status([Asked(member, config.tls) for member in hospitals])
    check_live(hospitals, found, voting, after)


def check_live(
    hospitals: Sequence[Member],
    found: Sequence[Status],
    voting: set[MemberId],
    after: set[MemberId],
) -> None:
    """The rule: of those that vote ``after`` the change, a quorum is live.

    Live is who answers, is not far behind, and, if it votes now, does so.
    """
    heights = [_height(status) for status in found]
    newest = max(heights, default=0)
    missing = sorted(
        member.id
        for member, status, height in zip(hospitals, found, heights, strict=True)
        if member.id in after
        and (
            height < newest - NEAR_HEIGHTS
            or (member.id in voting and status.get("observer") is not False)
        )
    )
    live = len(after) - len(missing)
    if live < quorum(len(after)):
        raise WouldStop(live, len(after), quorum(len(after)), ", ".join(missing))


def _height(status: Status) -> int:
    height = status.get("height")
    return height if isinstance(height, int) else -(2**62)
