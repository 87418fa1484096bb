"""What the vendor's and the resident's commands do; both trust the genesis document alone."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import PeerFault
from ledger.light.records import VerifiedRecord
from ledger.light.view_rules import DICOM, ViewRules, kind_of
from ledger.primitives import Hash32, MemberId
from ledger.types.genesis import Genesis
from nodes.cli.output import BadArgument
from nodes.cli.show import (
    Members,
    access_members,
    fields_of,
    list_members,
    record_members,
    save_proof,
)
from nodes.client.connect import gateway_of
from nodes.client.enrolment import EnrolmentCode, check_digits, post_key
from nodes.client.http import RequestIdentity, RequestRefused
from nodes.config import VendorConfig, load_config, load_genesis
from nodes.resident.client import ResidentClient
from nodes.signer.key_files import (
    FileSigner,
    create_private_directory,
    create_private_key,
)
from nodes.vendor.client import DeidentifiedRecord, VendorClient
from nodes.view_rules.files import rules_of

KEY_FILE = "key.pem"
GENESIS_FILE = "genesis.bin"
SETTINGS_FILE = "settings.json"
TRUSTED_FILE = "trusted.bin"


@dataclass(frozen=True, slots=True)
class Query:
    """What a vendor asks for."""

    holders: tuple[str, ...]
    """Empty: every hospital that has a gateway."""
    kind: str
    code: str
    purpose: str
    limit: int
    images: Path | None
    """Folder that is made for the images of studies."""


async def vendor_query(file: Path, query: Query) -> Members:
    """Verified de-identified records of every asked hospital."""
    config = load_config(VendorConfig, file)
    genesis = load_genesis(config.genesis)
    signer = FileSigner.load(config.user_key("vendor-service"))
    identity = RequestIdentity(signer, genesis.chain_id)
    everyone = [m.id for m in genesis.members if m.kind == "hospital" and m.endpoints.gateway]
    holders, records = [], []
    for holder in query.holders or everyone:
        count = 0
        async with gateway_of(genesis, holder, identity) as http:
            client = VendorClient(http, genesis, signer, MemberId(holder))
            permission = await client.request_permission(query.purpose)
            async for found in client.query(permission, query.kind, query.code):
                records.append(
                    {
                        "holder": holder,
                        "index": found.index,
                        "root": found.root.hex(),
                        "fields": fields_of(found.record),
                        "hidden_fields": found.record.hidden_count,
                    }
                )
                if query.images is not None and is_study(found.record):
                    target = query.images / holder / str(found.index)
                    records[-1]["images"] = await _keep_images(client, permission, found, target)
                count += 1
                if count == query.limit:
                    break
        holders.append({"holder": holder, "verified": count})
    return {"verified": len(records), "holders": holders, "records": records}


def is_study(record: VerifiedRecord) -> bool:
    """Whether a de-identified record is of DICOM files."""
    return kind_of(record.fields) == DICOM


async def _keep_images(
    client: VendorClient, permission: Hash32, found: DeidentifiedRecord, target: Path
) -> str:
    """Keeps the verified images of a study; says how many, or why they are refused."""
    try:
        files = await client.images(permission, found.index)
    except RequestRefused as refused:
        return f"refused: {refused.detail}"
    rules = rules_of(found.record.view, found.record.version)
    await asyncio.to_thread(_write_verified, target, files, found.record, rules)
    return f"{len(files)} verified"


def _write_verified(
    target: Path, files: Sequence[bytes], record: VerifiedRecord, rules: ViewRules
) -> None:
    from nodes.gateway.dicom_release import verify_deidentified_files

    target.mkdir(parents=True)
    paths = [target / f"{number:04}.dcm" for number in range(1, len(files) + 1)]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    try:
        verify_deidentified_files(record.fields, paths, rules)
    except PeerFault:
        shutil.rmtree(target)  # nothing that is not proved is left behind
        raise


async def enrol(home: Path, genesis_file: Path, code_text: str) -> Members:
    """Makes a resident's folder and key, and posts the key to the hospital that gave the code."""
    genesis = load_genesis(genesis_file)
    try:
        code = EnrolmentCode.from_text(code_text)
    except PeerFault as error:
        raise BadArgument("--code", str(error)) from None
    if code.chain_id != genesis.chain_id or genesis.member(code.hospital) is None:
        raise BadArgument("--code", "it is for another network than the genesis document")
    create_private_directory(home)
    # Refuses where a key is there already: from here on all that is in the folder is made now.
    signer = FileSigner(create_private_key(home / KEY_FILE))
    try:
        (home / GENESIS_FILE).write_bytes(genesis.encode())
        (home / SETTINGS_FILE).write_text(json.dumps({"gateway": code.hospital}) + "\n", "utf-8")
        async with gateway_of(genesis, code.hospital, None) as http:
            await post_key(http, code, signer)
    except BaseException:
        # The key is bound to nobody; the same command can be given again.
        _forget(home)
        raise
    key = signer.public_key
    return {
        "home": str(home),
        "chain_id": genesis.chain_id.hex(),
        "public_key": key.encoded.hex(),
        "key_id": key.key_id.hex(),
        "check": check_digits(key.key_id),
    }


def _forget(home: Path) -> None:
    for name in (KEY_FILE, GENESIS_FILE, SETTINGS_FILE):
        (home / name).unlink(missing_ok=True)


@asynccontextmanager
async def _resident(home: Path) -> AsyncIterator[ResidentClient]:
    gateway, genesis = _settings(home)
    signer = FileSigner.load(home / KEY_FILE)
    identity = RequestIdentity(signer, genesis.chain_id)
    async with gateway_of(genesis, gateway, identity) as http:
        yield ResidentClient(http, genesis, signer, home / TRUSTED_FILE)


def _settings(home: Path) -> tuple[str, Genesis]:
    try:
        settings = json.loads((home / SETTINGS_FILE).read_text("utf-8"))
        gateway = settings["gateway"]
    except OSError:
        raise BadArgument("--home", f"{home}: no settings; run `yilian resident enrol`") from None
    except (ValueError, KeyError, TypeError):
        reason = f'{home / SETTINGS_FILE} is damaged; it holds {{"gateway": "<member id>"}}'
        raise BadArgument("--home", reason) from None
    return str(gateway), load_genesis(home / GENESIS_FILE)


async def resident_list(home: Path, proof: Path | None) -> Members:
    """The complete list of own records."""
    async with _resident(home) as client:
        found = await client.list()
        await save_proof(proof, client.session, found.proof, None)
        return list_members(client.session, found)


async def resident_show(home: Path, index: int, proof: Path | None) -> Members:
    """One own record in the resident view."""
    async with _resident(home) as client:
        shown = await client.show(index)
        if proof is not None:
            bundle, _ = await client.session.patient_list(shown.listed.row.patient)
            await save_proof(proof, client.session, bundle, shown.disclosure)
        return record_members(shown)


async def resident_accesses(home: Path, proof: Path | None) -> Members:
    """Everyone who was shown own records."""
    async with _resident(home) as client:
        bundle, entries = await client.accesses()
        await save_proof(proof, client.session, bundle, None)
        header = bundle.state.certified.header
        return {
            "complete": True,
            "height": header.height,
            "age_ms": client.session.age_ms(header),
            "accesses": access_members(entries, await client.certificates(entries)),
        }
