"""What ``yilian status`` asks: every validator that a directory or a configuration names."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from ledger.errors import LedgerError
from ledger.types.genesis import Genesis
from nodes.cli.output import BadArgument
from nodes.client.chain import ChainClient
from nodes.client.connect import node_of
from nodes.config import GatewayConfig, NodeConfig, load_config, load_genesis
from nodes.transport.pki import TlsFiles

TIMEOUT_SECONDS = 5.0

Status = Mapping[str, object]
Asked = tuple[Genesis, str, TlsFiles]
"""A network, one of its validators, and the certificate with which it is asked."""


def validators_of(target: Path) -> list[Asked]:
    """Whom to ask: the validators of a network directory, or all that a configuration knows."""
    if target.is_dir():
        configs = sorted(target.glob("*/node.toml"))
        if not configs:
            raise BadArgument("TARGET", f"{target} holds no <member>/node.toml")
        loaded = [load_config(NodeConfig, path) for path in configs]
        return [(load_genesis(c.genesis), str(c.member), c.tls) for c in loaded]
    config: NodeConfig | GatewayConfig
    if target.name.startswith("gateway"):
        config = load_config(GatewayConfig, target)
    else:
        config = load_config(NodeConfig, target)
    genesis = load_genesis(config.genesis)
    return [(genesis, v.member, config.tls) for v in genesis.membership.validators]


async def gather_status(asked: Sequence[Asked]) -> list[Status]:
    """Status of each validator, or ``{"member", "error"}``; asked all at once."""
    return list(await asyncio.gather(*(_status(*item) for item in asked)))


async def _status(genesis: Genesis, member: str, own: TlsFiles) -> Status:
    try:
        async with node_of(genesis, member, own) as http, asyncio.timeout(TIMEOUT_SECONDS):
            return await ChainClient(http).status()
    except LedgerError as error:
        return {"member": member, "error": str(error)}
    except TimeoutError:
        return {"member": member, "error": f"no answer within {TIMEOUT_SECONDS:.0f} s"}


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
    remark = "observer" if item.get("observer") else f"primary is {item.get('primary')}"
    return f"{remark}; drops frames of {', '.join(dropped)}" if dropped else remark
