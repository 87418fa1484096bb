"""What hospital staff's commands do, with the keys that ``gateway.toml`` points to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.crypto.keys import PublicKey
from ledger.errors import PeerFault
from ledger.primitives import Hash32, PatientKey, TimestampMs
from nodes.cli.output import BadArgument
from nodes.cli.progress import index_progress
from nodes.cli.show import Members, list_members, record_members, save_proof
from nodes.client.connect import gateway_of
from nodes.client.hospital import HospitalClient
from nodes.client.http import RequestIdentity
from nodes.client.records import ShownRecord
from nodes.config import GatewayConfig, load_config, load_genesis
from nodes.signer.key_files import FileSigner

_POLL_SECONDS = 0.25
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """One record that is asked for."""

    patient: bytes
    index: int
    permission: bytes | None
    purpose: str
    attachments: Path | None
    proof: Path | None


@asynccontextmanager
async def _client(config: GatewayConfig, role: str) -> AsyncIterator[HospitalClient]:
    genesis = load_genesis(config.genesis)
    signer = FileSigner.load(config.user_key(role))
    identity = RequestIdentity(signer, genesis.chain_id)
    async with gateway_of(genesis, config.member, identity) as http:
        yield HospitalClient(http, genesis, signer)


async def find(file: Path, system: str, identifier: str, purpose: str) -> Members:
    """The complete list of a patient's records, under a permission that is asked for now."""
    config = load_config(GatewayConfig, file)
    async with _client(config, "treating") as client:
        system = system or config.national_id_systems[0]
        patient = await client.patient(system, identifier)
        permission = await client.request_permission(patient, purpose)
        found = await client.list(patient, permission)
        head = {"system": system, "patient": patient.hex(), "permission": permission.hex()}
        return head | list_members(client.session, found)


async def read(file: Path, wanted: Reading) -> Members:
    """One record, verified; its images too, where they are to be kept."""
    config = load_config(GatewayConfig, file)
    async with _client(config, "treating") as client:
        patient = PatientKey(wanted.patient)
        if wanted.permission is None:
            permission = await client.request_permission(patient, wanted.purpose)
        else:
            permission = Hash32(wanted.permission)
        shown = await client.read(patient, wanted.index, permission)
        if wanted.proof is not None:
            bundle, _ = await client.session.patient_list(patient)
            await save_proof(wanted.proof, client.session, bundle, shown.disclosure)
    if wanted.attachments is not None:
        _keep_attachments(wanted.attachments, shown)
    return {"permission": permission.hex()} | record_members(shown)


def _keep_attachments(directory: Path, shown: ShownRecord) -> None:
    from nodes.gateway.sources import verify_attachments

    verify_attachments(shown.record, shown.attachments)
    try:
        directory.mkdir(mode=0o700, parents=True)
        for number, data in enumerate(shown.attachments, 1):
            (directory / f"{number:04}.dcm").write_bytes(data)
    except OSError as error:
        raise BadArgument(
            "--attachments", f"{directory}: {error.strerror}; name a new folder"
        ) from None


async def bind_resident(
    file: Path, public_key: str, system: str, identifier: str, days: int
) -> Members:
    """Registers a resident's key under the patient key of an identifier."""
    key = _public_key(public_key)
    config = load_config(GatewayConfig, file)
    async with _client(config, "registrar") as client:
        system = system or config.national_id_systems[0]
        patient = await client.patient(system, identifier)
        until = TimestampMs(time.time_ns() // 1_000_000 + days * _DAY_MS)
        await client.bind_resident(patient, key, until)
        head = {"system": system, "patient": patient.hex()}
        return head | {"key_id": key.key_id.hex(), "valid_until_ms": until}


def _public_key(text: str) -> PublicKey:
    try:
        if not _is_hex(text):
            text = Path(text).read_text("ascii").strip()
        return PublicKey.decode(bytes.fromhex(text))
    except OSError as error:
        reason = f"{error.strerror}; give the key in hex, or a file that holds it"
        raise BadArgument("--public-key", reason) from None
    except (ValueError, PeerFault):
        raise BadArgument("--public-key", "no public key; see `yilian resident enrol`") from None


def _is_hex(text: str) -> bool:
    return bool(text) and all(c in "0123456789abcdefABCDEF" for c in text)


async def run_index(file: Path, watch: bool) -> Members:
    """Starts an index run, or joins the running one, and waits for its end."""
    config = load_config(GatewayConfig, file)
    async with _client(config, "administrator") as client:
        job = await client.start_index()
        with index_progress(watch) as update:
            while job.get("state") == "running":
                update(_report(job))
                await asyncio.sleep(_POLL_SECONDS)
                job = await client.index_job(str(job["id"]))
        return {"state": job.get("state")} | _report(job)


def _report(job: Members) -> Members:
    report = job.get("report")
    return report if isinstance(report, dict) else {}
