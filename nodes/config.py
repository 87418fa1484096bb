"""Configuration files: TOML, every key checked, unknown keys refused, paths beside the file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from ledger.errors import OutOfRange, PeerFault, WorldFault
from ledger.limits import ROWS_PER_TRANSACTION_MAX, SNAPSHOT_HEIGHTS_MIN
from ledger.primitives import MemberId
from ledger.types.genesis import GENESIS_BYTES_MAX, Genesis
from nodes.transport.peer_links import Address
from nodes.transport.pki import TlsFiles

CONFIG_BYTES_MAX = 1024 * 1024
NATIONAL_ID_SYSTEMS = ("urn:oid:2.16.156.10011.1.3", "http://hl7.org/fhir/sid/us-ssn")
"""Resident identity number of the PRC; social security number, as openly licensed samples have."""


@dataclass(eq=False)
class ConfigInvalid(WorldFault):
    """A key of a configuration file is missing, unknown or has an impossible value."""

    file: str
    key: str
    value: str
    advice: str
    template = "{file}: {key} = {value}: {advice}"


@dataclass(eq=False)
class FileUnusable(WorldFault):
    """A file that the configuration names cannot be used."""

    path: str
    reason: str
    template = "{path}: {reason}"


def _address(value: object) -> Address:
    address = Address.parse(value) if isinstance(value, str) else None
    if address is None:
        raise ValueError('give host and port, such as "127.0.0.1:7101"')
    return address


def _member(value: object) -> MemberId:
    try:
        return MemberId(value if isinstance(value, str) else "")
    except OutOfRange:
        raise ValueError("give 1 to 32 characters a-z, 0-9 and inner hyphens") from None


def _resolved(value: Path, info: ValidationInfo) -> Path:
    base = info.context
    return base / value if isinstance(base, Path) else value


def _https(value: str) -> str:
    if not value.startswith("https://"):
        raise ValueError('give a URL that begins with "https://"')
    return value.rstrip("/")


Member = Annotated[MemberId, BeforeValidator(_member)]
Listen = Annotated[Address, BeforeValidator(_address)]
FilePath = Annotated[Path, Field(strict=False), AfterValidator(_resolved)]
"""Relative to the directory of the configuration file."""
Url = Annotated[str, AfterValidator(_https)]
LogLevel = Literal["debug", "info", "warning", "error"]


class Model(BaseModel):
    """What every configuration model shares."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )


class _Service(Model):
    member: Member
    """The member that runs it."""
    genesis: FilePath
    """The genesis document."""
    keys_dir: FilePath
    """Private keys and certificates, mode 0700."""
    log_level: LogLevel = "info"

    def user_key(self, role: str) -> Path:
        """Private key of this member's user with that role."""
        return self.keys_dir / user_key_name(role)

    def _tls(self, service: str) -> TlsFiles:
        names = tls_names(service)
        return TlsFiles(self.keys_dir / names[0], self.keys_dir / names[1])


class NodeConfig(_Service):
    """``node.toml``: one validator."""

    data_dir: FilePath
    """The chain and the safety store."""
    peer_listen: Listen
    """Where other validators connect."""
    api_listen: Listen
    """Where the node's HTTP interface listens."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Below this much free disk space the node admits no transactions (L5); 0 turns it off."""
    snapshot_min_height: Annotated[int, Field(ge=0)] = SNAPSHOT_HEIGHTS_MIN
    """A node without a chain fetches a snapshot of at least this height; 0: it executes all."""

    @property
    def ledger_path(self) -> Path:
        """Directory of the LevelDB database."""
        return self.data_dir / "ledger"

    @property
    def safety_path(self) -> Path:
        """File of the safety store."""
        return self.data_dir / SAFETY_NAME

    @property
    def consensus_key(self) -> Path:
        """Private key that signs votes."""
        return self.keys_dir / CONSENSUS_KEY

    @property
    def authority(self) -> Path:
        """Certificate of the own authority."""
        return self.keys_dir / AUTHORITY_CERTIFICATE

    @property
    def tls(self) -> TlsFiles:
        """Certificate and key of the validator's links and interface."""
        return self._tls("node")


class StoreConfig(Model):
    """One place where a hospital's records lie."""

    kind: Literal["directory"]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Part of each record's locator; never change it."""
    path: FilePath


class ReleaseConfig(Model):
    """How de-identified roots are released."""

    enabled: bool = True
    """Whether this hospital releases de-identified records at all."""


class GatewayConfig(_Service):
    """``gateway.toml``: one hospital's gateway."""

    data_dir: FilePath
    """The gateway's own database: outbox, commitments' secrets, index of the stores."""
    listen: Listen
    """Where the gateway's HTTP interface listens."""
    node_api: Url
    """The own validator's HTTP interface."""
    national_id_systems: tuple[str, ...] = Field(
        default=NATIONAL_ID_SYSTEMS, min_length=1, strict=False
    )
    """FHIR identifier systems that count as national; all hospitals must list the same."""
    rows_per_transaction: Annotated[int, Field(ge=1, le=ROWS_PER_TRANSACTION_MAX)] = 100
    release: ReleaseConfig = ReleaseConfig()
    stores: tuple[StoreConfig, ...] = Field(default=(), strict=False)

    @property
    def sealing_key(self) -> Path:
        """Private key to which the hospitals' group key is wrapped."""
        return self.keys_dir / SEALING_KEY

    @property
    def patient_secret(self) -> Path:
        """The hospitals' shared secret of patient keys."""
        return self.keys_dir / PATIENT_SECRET

    @property
    def tls(self) -> TlsFiles:
        """Certificate and key of the gateway."""
        return self._tls("gateway")


class VendorConfig(_Service):
    """``vendor.toml``: one vendor's client."""

    @property
    def tls(self) -> TlsFiles:
        """Certificate and key of the vendor's client."""
        return self._tls("vendor")


SAFETY_NAME = "safety.log"
AUTHORITY_CERTIFICATE = "authority.crt"
CONSENSUS_KEY = "consensus.pem"
SEALING_KEY = "sealing.pem"
PATIENT_SECRET = "patient-key.secret"  # noqa: S105  a file's name


def user_key_name(role: str) -> str:
    """File name of a user's private key."""
    return f"user-{role}.pem"


def tls_names(service: str) -> tuple[str, str]:
    """File names of a service's certificate and private key."""
    return f"{service}-tls.crt", f"{service}-tls.pem"


ModelT = TypeVar("ModelT", bound=Model)


def load_config(kind: type[ModelT], path: Path) -> ModelT:
    """The configuration in a TOML file; raises ConfigInvalid or FileUnusable."""
    data = read_file(path, CONFIG_BYTES_MAX)
    try:
        values = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileUnusable(str(path), f"is not TOML in UTF-8: {error}") from None
    try:
        return kind.model_validate(values, context=path.parent)
    except ValidationError as error:
        raise _invalid(path, error) from None


def _invalid(path: Path, error: ValidationError) -> ConfigInvalid:
    """The first error; an unknown key before a missing one, because it often is its misspelling."""
    errors = error.errors(include_url=False)
    missing = [str(e["loc"][-1]) for e in errors if e["type"] == "missing"]
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"]) or "(file)"
    advice = {
        "missing": "the key is missing: add it",
        "extra_forbidden": "the key is unknown: remove it",
        "tuple_type": "give a list: [...], or [[...]] before each table",
    }.get(first["type"], first["msg"].removeprefix("Value error, "))
    if first["type"] == "extra_forbidden" and missing:
        advice = f"the key is unknown: remove it, or rename it; missing are {', '.join(missing)}"
    value = "(none)" if first["type"] == "missing" else repr(first["input"])[:80]
    return ConfigInvalid(str(path), key, value, advice)


def load_genesis(path: Path) -> Genesis:
    """The genesis document in a file; raises FileUnusable."""
    data = read_file(path, GENESIS_BYTES_MAX)
    try:
        return Genesis.decode(data)
    except PeerFault as fault:
        raise FileUnusable(str(path), f"is no genesis document: {fault}") from None


def read_file(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a file; raises FileUnusable."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise FileUnusable(str(path), f"cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise FileUnusable(str(path), f"is larger than {limit} bytes: the wrong file?")
    return data
