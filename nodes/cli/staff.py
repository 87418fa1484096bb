"""What hospital staff's commands do, with the keys that ``gateway.toml`` points to."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.crypto.keys import PublicKey
from ledger.errors import PeerFault
from ledger.primitives import Hash32, KeyId, PatientKey, Signature, TimestampMs
from ledger.types.entries import user_key
from ledger.types.genesis import UserKey
from ledger.types.residents import (
    copies_key,
    decode_copies,
    decode_resident_keys,
    resident_keys_key,
)
from nodes.cli.output import BadArgument
from nodes.cli.progress import index_progress
from nodes.cli.show import (
    Members,
    copy_members,
    directive_members,
    list_members,
    record_members,
    save_proof,
    share_members,
    utc_text,
)
from nodes.client.connect import gateway_of
from nodes.client.enrolment import EnrolmentCode, check_digits
from nodes.client.hospital import HospitalClient
from nodes.client.http import AnswerUnreadable, RequestIdentity
from nodes.client.records import ShownRecord
from nodes.client.session import LightSession
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


async def new_enrolment(file: Path, system: str, identifier: str, role: str) -> Members:
    """A one-time code under which a person's device posts its key."""
    config = load_config(GatewayConfig, file)
    async with _client(config, "registrar") as client:
        system = system or config.national_id_systems[0]
        patient = await client.patient(system, identifier)
        code, expires_ms = await client.new_enrolment(patient, role)
        head = {"system": system, "patient": patient.hex(), "role": role}
        return head | {"code": code.to_text(), "expires_ms": expires_ms}


async def posted_key(file: Path, code_text: str) -> Members:
    """The key that a device has posted under a code, and the digits that it shows."""
    code = _enrolment_code(code_text)
    async with _client(load_config(GatewayConfig, file), "registrar") as client:
        key, _ = await _posted(client, code)
        return {"key_id": key.key_id.hex(), "check": check_digits(key.key_id)}


async def confirm_enrolment(
    file: Path, code_text: str, days: int, replaces: Sequence[bytes]
) -> Members:
    """Binds the key that was posted under a code; the ones that it replaces end at once."""
    code = _enrolment_code(code_text)
    async with _client(load_config(GatewayConfig, file), "registrar") as client:
        key, possession = await _posted(client, code)
        until = TimestampMs(time.time_ns() // 1_000_000 + days * _DAY_MS)
        await client.bind_resident(code, key, possession, until, [KeyId(k) for k in replaces])
        head = {"patient": code.patient.hex(), "role": code.role}
        return head | {"key_id": key.key_id.hex(), "valid_until_ms": until}


async def _posted(client: HospitalClient, code: EnrolmentCode) -> tuple[PublicKey, Signature]:
    found = await client.posted_key(code)
    if found is None:
        raise BadArgument("--code", "no key was posted under it yet; let the person scan it first")
    return found


async def wishes(file: Path, system: str, identifier: str) -> Members:
    """What a patient permits, asks for and shares, and whose keys act for them; all proved."""
    config = load_config(GatewayConfig, file)
    async with _client(config, "registrar") as client:
        system = system or config.national_id_systems[0]
        patient = await client.patient(system, identifier)
        session = client.session
        found = await session.directives(patient)
        copies = (await session.state(copies_key(patient))).value
        keys = (await session.state(resident_keys_key(patient))).value
        ids = decode_resident_keys(keys) if keys else ()
        shares = await session.shares(patient)
        now_ms = found.header.time_ms
        return {
            "system": system,
            "patient": patient.hex(),
            "height": found.header.height,
            "age_ms": session.age_ms(found.header),
            "directives": [directive_members(each, now_ms) for each in found.directives],
            "copies": [copy_members(each) for each in decode_copies(copies)] if copies else [],
            "shares": [share_members(share_id, each) for share_id, each in shares],
            "keys": [await _key_members(session, each) for each in ids],
        }


async def _key_members(session: LightSession, key_id: KeyId) -> Members:
    """A key that acts for a patient; it may have expired."""
    found = await session.state(user_key(key_id))
    if found.value is None:
        raise AnswerUnreadable(session.chain.http.base_url, "it lists a key that nobody registered")
    user = UserKey.decode(found.value)
    return {
        "key": key_id.hex(),
        "role": ", ".join(user.roles),
        "hospital": user.member,
        "valid_until": utc_text(user.valid_until_ms),
    }


async def decide_copy(file: Path, patient: bytes, refused: str | None, days: int) -> Members:
    """The own hospital's answer to a request for a full copy."""
    async with _client(load_config(GatewayConfig, file), "administrator") as client:
        # From the chain's time on, which is what the contract compares it with.
        now_ms = (await client.session.refresh()).time_ms
        until = TimestampMs(0 if refused else now_ms + days * _DAY_MS)
        await client.decide_copy(PatientKey(patient), refused, until)
    answer = {"state": "refused", "reason": refused} if refused else {"state": "approved"}
    return {"patient": patient.hex()} | answer | {"until_ms": until}


async def end_share(file: Path, share: bytes) -> Members:
    """Ends a share that the own hospital serves."""
    async with _client(load_config(GatewayConfig, file), "administrator") as client:
        await client.end_share(Hash32(share))
    return {"share": share.hex(), "state": "ended"}


def _enrolment_code(text: str) -> EnrolmentCode:
    try:
        return EnrolmentCode.from_text(text)
    except PeerFault as error:
        raise BadArgument("--code", str(error)) from None


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
