"""What the commands of the light client do."""

import sys
from pathlib import Path

from ledger.errors import PeerFault
from ledger.light.checkpoint import Checkpoint, checkpoint_of
from ledger.light.saved import verify_saved_proof
from ledger.light.trust import trust_genesis
from ledger.light.witnesses import Forked, is_fork, verify_fork
from ledger.primitives import MemberId
from ledger.types.genesis import Genesis
from nodes.cli.output import BadArgument
from nodes.cli.show import Members
from nodes.client.chain import GATEWAY_PREFIX, ChainClient
from nodes.client.clock import wall_ms
from nodes.client.connect import gateway_of
from nodes.client.session import LightSession, default_max_age_ms
from nodes.client.witnesses import Witness, compare_witnesses, fork_evidence, start_from
from nodes.config import GatewayConfig, load_config, load_genesis
from nodes.view_rules.files import known_rules


def verify_file(document: bytes, data: bytes) -> Members:
    """What a saved proof, or evidence of a fork, proves."""
    if is_fork(data):
        return _verify_fork(document, data)
    report = verify_saved_proof(document, data, wall_ms(), known_rules())
    fields = {
        "verified": True,
        "height": report.header.height,
        "time_ms": report.header.time_ms,
        "age_ms": report.age_ms,
        "about": report.key.split(b"/")[0].decode("ascii", "replace"),
        "rows": None if report.patient_list is None else len(report.patient_list.rows),
        "accesses": None if report.accesses is None else len(report.accesses),
        "row": None if report.row is None else report.row.index,
        "fields_shown": None if report.record is None else len(report.record.fields),
        "fields_hidden": None if report.record is None else report.record.hidden_count,
        "view": None if report.record is None else report.record.view,
        "view_version": None if report.record is None else report.record.version,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _verify_fork(document: bytes, data: bytes) -> Members:
    fork = verify_fork(document, data)
    return {
        "verified": True,
        "about": "fork",
        "height": fork.height,
        "first": f"{fork.hospitals[0]} {fork.headers[0].hash.hex()}",
        "second": f"{fork.hospitals[1]} {fork.headers[1].hash.hex()}",
        "signed_both": ", ".join(fork.signed_both) or "nobody",
        "same_view": fork.same_view,
    }


async def print_checkpoint(file: Path) -> Members:
    """A checkpoint of the newest header of the hospital's own network."""
    config = load_config(GatewayConfig, file)
    genesis = load_genesis(config.genesis)
    async with gateway_of(genesis, config.member, None) as http:
        trusted = await LightSession(ChainClient(http, GATEWAY_PREFIX), genesis).refresh()
    checkpoint = checkpoint_of(trusted)
    return {
        "chain_id": checkpoint.chain_id.hex(),
        "height": checkpoint.height,
        "header": checkpoint.header_hash.hex(),
        "membership": checkpoint.membership_hash.hex(),
        "checkpoint": checkpoint.text,
    }


def show_code(text: str) -> None:
    """The text as a QR code of half blocks, for a printer or a camera."""
    import segno

    segno.make_qr(text, error="m").terminal(sys.stdout, compact=True)


async def compare(
    genesis_file: Path, hospitals: tuple[str, str], checkpoint: str, evidence: Path
) -> Members:
    """The height on which both agree; raises WitnessRefused or Forked."""
    genesis = load_genesis(genesis_file)
    first, second = hospitals
    async with gateway_of(genesis, first, None) as one, gateway_of(genesis, second, None) as other:
        witnesses = [
            Witness(MemberId(name), ChainClient(http, GATEWAY_PREFIX))
            for name, http in ((first, one), (second, other))
        ]
        return await compare_at(genesis, witnesses, checkpoint, evidence, wall_ms())


def _printed(text: str) -> Checkpoint:
    try:
        return Checkpoint.from_text(text.strip())
    except PeerFault as fault:
        reason = f"{fault}; scan it again, or copy it whole, from YILIAN-CHECKPOINT on"
        raise BadArgument("--checkpoint", reason) from fault


async def compare_at(
    genesis: Genesis, witnesses: list[Witness], checkpoint: str, evidence: Path, now_ms: int
) -> Members:
    """The same with servers that are connected."""
    one, other = witnesses
    if checkpoint:
        trusted = await start_from(one.chain, _printed(checkpoint))
    else:
        trusted = trust_genesis(genesis.encode(), None)
    try:
        agreed = await compare_witnesses(trusted, one, other, now_ms, default_max_age_ms(genesis))
    except Forked as forked:
        data = await fork_evidence(genesis.chain_id, forked.height, one, other)
        verify_fork(genesis.encode(), data)
        with evidence.open("xb") as out:
            out.write(data)
        raise
    return {
        "agree": True,
        "height": agreed.height,
        "header": agreed.header_hash.hex(),
        "age_ms": max(now_ms - agreed.time_ms, 0),
    }
