"""What ``yilian status`` asks: every validator that a directory or a configuration names."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import LedgerError
from ledger.types.genesis import Member
from nodes.cli.output import BadArgument
from nodes.client.chain import ChainClient
from nodes.client.connect import node_of
from nodes.client.network import ANSWER_SECONDS, any_validator, hospitals_of
from nodes.config import GatewayConfig, NodeConfig, load_config, load_genesis
from nodes.transport.pki import TlsFiles

Status = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """A hospital's validator, and the certificate with which it is asked."""

    member: Member
    own: TlsFiles


def _configs(target: Path) -> Sequence[NodeConfig | GatewayConfig]:
    if target.is_dir():
        found = [load_config(NodeConfig, path) for path in sorted(target.glob("*/node.toml"))]
        if not found:
            raise BadArgument("TARGET", f"{target} holds no <member>/node.toml")
        return found
    if target.name.startswith("gateway"):
        return [load_config(GatewayConfig, target)]
    return [load_config(NodeConfig, target)]


async def validators_of(target: Path) -> list[Asked]:
    """Whom to ask: every hospital that the chain knows now, or the genesis document's.

    With a network directory, each is asked with its own certificate where it is there.
    """
    configs = _configs(target)
    own = {config.member: config.tls for config in configs}
    first = configs[0]
    genesis = load_genesis(first.genesis)
    try:
        async with any_validator(genesis, first.tls, first.member) as session:
            hospitals = await hospitals_of(session)
    except LedgerError:
        # Then each of these is shown with what is wrong about it.
        hospitals = tuple(m for m in genesis.members if m.kind == "hospital")
    return [Asked(member, own.get(member.id, first.tls)) for member in hospitals]


async def gather_status(asked: Sequence[Asked]) -> list[Status]:
    """Status of each validator, or ``{"member", "error"}``; asked all at once."""
    return list(await asyncio.gather(*(_status(item.member, item.own) for item in asked)))


async def _status(member: Member, own: TlsFiles) -> Status:
    try:
        async with node_of(member, own) as http, asyncio.timeout(ANSWER_SECONDS):
            return await ChainClient(http).status()
    except LedgerError as error:
        return {"member": member.id, "error": str(error)}
    except TimeoutError:
        return {"member": member.id, "error": f"no answer within {ANSWER_SECONDS:.0f} s"}


def evidence_rows(found: Sequence[Status]) -> list[list[object]]:
    """[member, vote, height, view, where it is] of each double vote that any validator knows."""
    rows: dict[tuple[object, ...], bool] = {}
    for item in found:
        listed = item.get("evidence")
        for each in listed if isinstance(listed, list) else []:
            place = tuple(each.get(name) for name in ("member", "vote", "height", "view"))
            rows[place] = rows.get(place, False) or each.get("recorded") is True
    return [[*place, "on the chain" if on else "to be reported"] for place, on in rows.items()]


def status_rows(found: Sequence[Status]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a table that fits 80 characters."""
    rows: list[list[object]] = []
    for item in found:
        if "error" in item:
            rows.append([item["member"], "down", "", "", "", item["error"]])
            continue
        peers = item.get("peers")
        peers = peers if isinstance(peers, list) else []
        connected = [p.get("connected") for p in peers]
        rows.append(
            [
                item.get("member"),
                item.get("height"),
                item.get("view"),
                str(item.get("state_root"))[:16],
                f"{connected.count(True)}/{len(connected)}",
                _remark(item, [str(p.get("member")) for p in peers if p.get("dropped")]),
            ]
        )
    return ["member", "height", "view", "state root", "peers", "remark"], rows


def _remark(item: Status, dropped: Sequence[str]) -> str:
    voters = item.get("voters")
    remark = f"primary is {item.get('primary')}"
    if isinstance(voters, list) and item.get("member") not in voters:
        remark = "has no vote"
    elif item.get("observer"):
        remark = "observer: see its log"
    return f"{remark}; drops frames of {', '.join(dropped)}" if dropped else remark
