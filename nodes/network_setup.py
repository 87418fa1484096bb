"""Makes a whole network on disk: keys, authorities, certificates, genesis, configuration.

For demonstrations and trials, where one operator prepares all members. In production each
member makes its own keys; the genesis document then gathers the public halves.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, ValidationError, model_validator

from ledger import codec
from ledger.crypto.keys import PublicKey, encode_public_key
from ledger.crypto.sealing import wrap_context, wrap_group_key
from ledger.errors import WorldFault
from ledger.limits import VALIDATORS_MAX
from ledger.primitives import MemberId, TimestampMs
from ledger.types.entries import VIEWS
from ledger.types.genesis import Endpoints, Genesis, Parameters, UserKey
from ledger.types.genesis import Member as GenesisMember
from ledger.types.governance import Admit
from nodes import config
from nodes.config import NATIONAL_ID_SYSTEMS, FilePath, Member, Model
from nodes.signer.key_files import (
    SECRET_BYTES,
    create_private_directory,
    create_private_key,
    write_private_file,
)
from nodes.storage.safety_store import FileSafetyStore
from nodes.transport.peer_links import Address
from nodes.transport.pki import (
    certificate_der,
    certificate_pem,
    issue_certificate,
    make_authority,
    now_utc,
)
from nodes.view_rules.files import newest_rules

HOSPITAL_ROLES = ("administrator", "gateway", "registrar", "treating")
VENDOR_ROLES = ("vendor-service",)
PORTS_PER_HOSPITAL = 10
ADMISSION_NAME = "admission.bin"
"""What a hospital that wants to join hands to one that belongs to the network."""
_DAY_MS = 24 * 3600 * 1000
T = TypeVar("T")


@dataclass(eq=False)
class DirectoryNotEmpty(WorldFault):
    """A network is never made over something else."""

    path: str
    template = "{path}: is there and not empty: give a new directory, or remove this one"


@dataclass(eq=False)
class SetupFailed(WorldFault):
    """The operating system refused something on the way; nothing was left behind."""

    path: str
    reason: str
    template = "{path}: the network could not be made: {reason}. Check mode and free space"


@dataclass(eq=False)
class BadPlan(WorldFault):
    """A hospital that cannot join like this."""

    reason: str
    template = "{reason}"


class HospitalPlan(Model):
    """One hospital of a plan."""

    id: Member
    name: Annotated[str, Field(min_length=1, max_length=100)]
    """As people call it, in any script."""
    host: str | None = None
    """Name or address at which others reach it; the plan's host if left out."""
    records: FilePath | None = None
    """Directory of its records; an empty one is made if left out."""


class VendorPlan(Model):
    """One vendor of a plan."""

    id: Member
    name: Annotated[str, Field(min_length=1, max_length=100)]


class NetworkPlan(Model):
    """What ``create_network`` makes; read from a file such as ``network-configs/demo.toml``."""

    network: Annotated[str, Field(min_length=1, max_length=100)]
    host: str = "127.0.0.1"
    base_port: Annotated[int, Field(ge=0, le=60_000)] = 7_100
    """First port; each hospital takes PORTS_PER_HOSPITAL. 0 takes ports that are free now."""
    release_patients_min: Annotated[int, Field(ge=1)] = 32
    rotation: Annotated[int, Field(ge=1)] = 100
    empty_block_interval_ms: Annotated[int, Field(ge=1_000)] = 60_000
    progress_timeout_ms: Annotated[int, Field(ge=100)] = 2_000
    min_free_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    user_valid_days: Annotated[int, Field(ge=1)] = 365
    licence_days: Annotated[int, Field(ge=1)] = 365
    national_id_systems: tuple[str, ...] = Field(
        default=NATIONAL_ID_SYSTEMS, min_length=1, strict=False
    )
    hospitals: tuple[HospitalPlan, ...] = Field(
        min_length=1, max_length=VALIDATORS_MAX, strict=False
    )
    vendors: tuple[VendorPlan, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _distinct(self) -> "NetworkPlan":
        ids = [hospital.id for hospital in self.hospitals]
        ids += [vendor.id for vendor in self.vendors]
        doubled = sorted({name for name in ids if ids.count(name) > 1})
        if doubled:
            raise ValueError(f"the id {doubled[0]} occurs twice: give each member its own")
        return self


def numbered_plan(hospitals: int, vendors: int = 1, base_port: int = 0) -> NetworkPlan:
    """A plan of so many members with plain names, k = 8; for trials of any size."""
    return NetworkPlan(
        network="trial",
        base_port=base_port,
        release_patients_min=8,
        hospitals=tuple(
            HospitalPlan(id=MemberId(f"hospital-{i}"), name=f"Hospital {i}")
            for i in range(1, hospitals + 1)
        ),
        vendors=tuple(
            VendorPlan(id=MemberId(f"vendor-{i}"), name=f"Vendor {i}")
            for i in range(1, vendors + 1)
        ),
    )


def joining_plan(
    genesis: Genesis, member: str, name: str, host: str, base_port: int
) -> NetworkPlan:
    """A plan of one hospital that joins the network of ``genesis``; raises BadPlan."""
    if genesis.member(member) is not None:
        raise BadPlan(f"{member} belongs to the network already")
    try:
        hospital = HospitalPlan(id=member, name=name)  # type: ignore[arg-type]  # is validated
        return NetworkPlan(
            network=genesis.network, host=host, base_port=base_port, hospitals=(hospital,)
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadPlan(f"{first['loc'][-1]}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class _Ports:
    peer: int
    api: int
    gateway: int


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create_network(directory: Path, plan: NetworkPlan) -> Genesis:
    """Makes ``directory`` with all that a network needs; whole, or not at all.

    ``<directory>/genesis.bin``; for a hospital ``<id>/{node.toml, gateway.toml, keys/,
    node-data/, gateway-data/}``; for a vendor ``<id>/{vendor.toml, keys/}``.
    Raises DirectoryNotEmpty or SetupFailed.
    """
    return _made_whole(directory, lambda building: _Builder(building, plan).build())


def join_network(directory: Path, genesis: bytes, plan: NetworkPlan) -> Admit:
    """Makes ``directory`` with keys and configuration of the one hospital of ``plan``.

    It holds a copy of the network's genesis document, and ``admission.bin``: the public halves,
    for a hospital of the network to propose. What hospitals share (the secret of patient keys)
    is not made: it comes from another hospital. Raises DirectoryNotEmpty or SetupFailed.
    """
    return _made_whole(directory, lambda building: _Builder(building, plan).join(genesis))


def _made_whole(directory: Path, make: Callable[[Path], T]) -> T:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DirectoryNotEmpty(str(directory))
    building = directory.with_name(f".{directory.name}.{os.urandom(4).hex()}")
    try:
        building.mkdir(mode=0o700, parents=True)
        made = make(building)
        os.rename(building, directory)
    except OSError as error:
        raise SetupFailed(str(directory), error.strerror or type(error).__name__) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return made


class _Builder:
    """Fills one directory; what is shared by all members is made once."""

    def __init__(self, directory: Path, plan: NetworkPlan) -> None:
        self._directory = directory
        self._plan = plan
        self._now = now_utc()
        self._time_ms = int(self._now.timestamp() * 1000)
        self._patient_secret = os.urandom(SECRET_BYTES)
        self._group_key = os.urandom(SECRET_BYTES)
        self._members: list[GenesisMember] = []
        self._users: list[UserKey] = []
        self._wraps: list[tuple[MemberId, bytes]] = []

    def build(self) -> Genesis:
        """Makes everything; the genesis document comes last."""
        plan = self._plan
        for hospital, ports in zip(plan.hospitals, _ports(plan), strict=True):
            self._hospital(hospital, ports)
            self._share_secrets(hospital.id)
        for vendor in plan.vendors:
            self._vendor(vendor)
        genesis = Genesis(
            plan.network,
            TimestampMs(self._time_ms),
            Parameters(
                plan.release_patients_min,
                plan.rotation,
                plan.empty_block_interval_ms,
                plan.progress_timeout_ms,
            ),
            tuple(sorted(self._members, key=lambda member: member.id)),
            tuple(sorted(self._users, key=lambda user: user.public_key.key_id)),
            tuple(sorted(self._wraps)),
            tuple((view, newest_rules(view).hash) for view in VIEWS),
        )
        # Decoding checks what a node will check when it reads the file.
        encoded = genesis.encode()
        (self._directory / "genesis.bin").write_bytes(encoded)
        return Genesis.decode(encoded)

    def _hospital(self, plan: HospitalPlan, ports: _Ports) -> None:
        home = self._directory / plan.id
        keys = home / "keys"
        host = plan.host or self._plan.host
        authority = self._authority(keys, plan.id)
        for service in ("node", "gateway"):
            self._tls(keys, authority, plan.id, service, host)
        consensus = create_private_key(keys / config.CONSENSUS_KEY)
        sealing = create_private_key(keys / config.SEALING_KEY)
        recipient = encode_public_key(sealing.public_key())
        self._members.append(
            GenesisMember(
                plan.id,
                plan.name,
                "hospital",
                certificate_der(authority.certificate),
                encode_public_key(consensus.public_key()).encoded,
                recipient.encoded,
                Endpoints(
                    str(Address(host, ports.peer)),
                    f"https://{Address(host, ports.api)}",
                    f"https://{Address(host, ports.gateway)}",
                ),
                TimestampMs(0),
            )
        )
        self._add_users(keys, plan.id, HOSPITAL_ROLES)
        create_private_directory(home / "gateway-data")
        create_private_directory(home / "node-data")
        # Made now and never again: a store that is missing later was lost (A2).
        FileSafetyStore.create(home / "node-data" / config.SAFETY_NAME)
        if plan.records is None:
            create_private_directory(home / "records")
            records = Path("records")
        else:
            records = plan.records.absolute()
        self._write_hospital_configs(home, plan.id, host, ports, records)

    def _share_secrets(self, hospital: MemberId) -> None:
        """Gives a hospital of the first hour what all hospitals share."""
        keys = self._directory / hospital / "keys"
        write_private_file(keys / config.PATIENT_SECRET, self._patient_secret)
        wrapped = wrap_group_key(
            self._group_key,
            ec.generate_private_key(ec.SECP256R1()),
            PublicKey.decode(self._members[-1].sealing_key),
            wrap_context(1, hospital),
        )
        self._wraps.append((hospital, wrapped))

    def join(self, genesis: bytes) -> Admit:
        """Makes the one hospital of the plan beside a genesis document that is there already."""
        (hospital,), (ports,) = self._plan.hospitals, _ports(self._plan)
        self._hospital(hospital, ports)
        admission = Admit(self._members[0], tuple(self._users))
        (self._directory / "genesis.bin").write_bytes(genesis)
        (self._directory / ADMISSION_NAME).write_bytes(codec.encode(admission.to_value()))
        return admission

    def _vendor(self, plan: VendorPlan) -> None:
        home = self._directory / plan.id
        authority = self._authority(home / "keys", plan.id)
        self._tls(home / "keys", authority, plan.id, "vendor", self._plan.host)
        self._members.append(
            GenesisMember(
                plan.id,
                plan.name,
                "vendor",
                certificate_der(authority.certificate),
                b"",
                b"",
                Endpoints("", "", ""),
                TimestampMs(self._time_ms + self._plan.licence_days * _DAY_MS),
            )
        )
        self._add_users(home / "keys", plan.id, VENDOR_ROLES)
        (home / "vendor.toml").write_text(_VENDOR_TOML.format(member=_text(plan.id)), "utf-8")

    def _authority(self, keys: Path, member: MemberId) -> _Authority:
        key = create_private_key(keys / "authority.pem")
        certificate = make_authority(member, key, self._now)
        write_private_file(keys / config.AUTHORITY_CERTIFICATE, certificate_pem(certificate))
        return _Authority(certificate, key)

    def _tls(
        self, keys: Path, authority: _Authority, member: MemberId, service: str, host: str
    ) -> None:
        certificate_name, key_name = config.tls_names(service)
        key = create_private_key(keys / key_name)
        hosts = list(dict.fromkeys([host, "localhost", "127.0.0.1"]))
        certificate = issue_certificate(
            authority.certificate,
            authority.key,
            member,
            service,
            key.public_key(),
            hosts,
            self._now,
        )
        write_private_file(keys / certificate_name, certificate_pem(certificate))

    def _add_users(self, keys: Path, member: MemberId, roles: Sequence[str]) -> None:
        valid_until = TimestampMs(self._time_ms + self._plan.user_valid_days * _DAY_MS)
        for role in roles:
            key = create_private_key(keys / config.user_key_name(role))
            public = encode_public_key(key.public_key())
            self._users.append(UserKey(member, public, (role,), valid_until, None))

    def _write_hospital_configs(
        self, home: Path, member: MemberId, host: str, ports: _Ports, records: Path
    ) -> None:
        node = _NODE_TOML.format(
            member=_text(member),
            peer=_text(str(Address(host, ports.peer))),
            api=_text(str(Address(host, ports.api))),
            min_free_bytes=self._plan.min_free_bytes,
        )
        gateway = _GATEWAY_TOML.format(
            member=_text(member),
            listen=_text(str(Address(host, ports.gateway))),
            node_api=_text(f"https://{Address(host, ports.api)}"),
            systems=", ".join(_text(system) for system in self._plan.national_id_systems),
            records=_text(str(records)),
        )
        (home / "node.toml").write_text(node, "utf-8")
        (home / "gateway.toml").write_text(gateway, "utf-8")


def _ports(plan: NetworkPlan) -> list[_Ports]:
    if plan.base_port:
        bases = range(plan.base_port, 65_536, PORTS_PER_HOSPITAL)
        return [_Ports(base + 1, base + 2, base + 3) for base in bases[: len(plan.hospitals)]]
    # All are held open until the last is found, so that none is given twice.
    held = [socket.socket() for _ in range(3 * len(plan.hospitals))]
    try:
        for item in held:
            item.bind(("127.0.0.1", 0))
        numbers = [int(item.getsockname()[1]) for item in held]
    finally:
        for item in held:
            item.close()
    return [_Ports(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]


def _text(value: str) -> str:
    """A TOML basic string; JSON escapes the same characters in the same way."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_NODE_TOML = """\
# One validator. Paths are relative to this file.

# The member that runs it, as in the genesis document.
member = {member}
# The document on which all members agreed; its hash is the chain's id.
genesis = "../genesis.bin"
# The chain and the safety store. Never restore the safety store from a backup.
data_dir = "node-data"
# Private keys and certificates; the directory must be 0700 and its files 0600.
keys_dir = "keys"
# Where the other validators connect (host:port).
peer_listen = {peer}
# Where the HTTP interface listens (host:port).
api_listen = {api}
# Below this much free disk space no transactions are admitted; 0 turns the check off.
min_free_bytes = {min_free_bytes}
# A node without a chain fetches a verified snapshot of at least this height; 0: never.
snapshot_min_height = 1000
# debug, info, warning or error.
log_level = "info"
"""

_GATEWAY_TOML = """\
# One hospital's gateway. Paths are relative to this file.

# The member that runs it, as in the genesis document.
member = {member}
# The document on which all members agreed.
genesis = "../genesis.bin"
# The gateway's own database: outbox, index of the stores.
data_dir = "gateway-data"
# Private keys, certificates and secrets; the directory must be 0700 and its files 0600.
keys_dir = "keys"
# Where the gateway's HTTP interface listens (host:port).
listen = {listen}
# The own validator's HTTP interface.
node_api = {node_api}
# Identifier systems that count as national. All hospitals must list the same: a patient's
# key is made from them.
national_id_systems = [{systems}]
# Index rows in one transaction, 1 to 200.
rows_per_transaction = 100
# debug, info, warning or error.
log_level = "info"

[release]
# Whether de-identified roots are released to vendors.
enabled = true

# One table for each place where records lie.
[[stores]]
# The only kind so far: a directory of FHIR and DICOM files.
kind = "directory"
# Part of each record's locator; never change it.
name = "records"
# The directory; files in its subdirectories count too.
path = {records}
"""

_VENDOR_TOML = """\
# One vendor's client. Paths are relative to this file.

# The member that runs it, as in the genesis document.
member = {member}
# The document on which all members agreed; it says where the gateways are.
genesis = "../genesis.bin"
# Private keys and certificates; the directory must be 0700 and its files 0600.
keys_dir = "keys"
# debug, info, warning or error.
log_level = "info"
"""
