"""A small consortium with fixed keys, and a dict-backed state: what contract tests stand on."""

import copy
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from contracts.governance import validator_key
from contracts.members import genesis_values
from contracts.registry import CONTRACTS
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused
from ledger.crypto.keys import PublicKey, Verified, encode_public_key, encode_signature
from ledger.light.permissions import certificate_of, grant_key
from ledger.light.verify import VerifiedValue
from ledger.primitives import (
    Hash32,
    Height,
    KeyId,
    MemberId,
    Nonce,
    PatientKey,
    Signature,
    TimestampMs,
)
from ledger.types.entries import VIEWS, Disclosed, access_log
from ledger.types.genesis import Endpoints, Genesis, Member, Parameters, UserKey
from ledger.types.residents import enrolment_digest
from ledger.types.transaction import (
    SignedTransaction,
    Transaction,
    sign_transaction,
    verify_transaction,
)
from nodes.view_rules.files import newest_rules
from tests.vectors import fixed

GENESIS_MS = 1_700_000_000_000
NOW = TimestampMs(GENESIS_MS + 1_000)
LATER = TimestampMs(GENESIS_MS + 10**12)
YEAR_MS = 365 * 24 * 3600 * 1000
CHALLENGE = Nonce(b"c" * Nonce.SIZE)
K = 3


@dataclass(frozen=True)
class FixedSigner:
    """A P-256 key made of a small number; signs for real, and always the same."""

    secret: int

    @cached_property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(self.secret, ec.SECP256R1())

    @cached_property
    def public_key(self) -> PublicKey:
        return encode_public_key(self._key.public_key())

    @property
    def key_id(self) -> KeyId:
        return self.public_key.key_id

    def sign(self, digest: Hash32) -> Signature:
        algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
        return encode_signature(*utils.decode_dss_signature(self._key.sign(digest, algorithm)))


def patient(number: int) -> PatientKey:
    return PatientKey(number.to_bytes(32, "big"))


def digest(number: int) -> Hash32:
    return Hash32(b"\xd1" + number.to_bytes(31, "big"))


def _member(name: str, kind: str, number: int, licence_ms: int = 0) -> Member:
    hospital = kind == "hospital"
    return Member(
        MemberId(name),
        name,
        kind,
        b"certificate of " + name.encode(),
        FixedSigner(1_000 + number).public_key.encoded if hospital else b"",
        FixedSigner(2_000 + number).public_key.encoded if hospital else b"",
        Endpoints("", "", f"https://{name}.example" if name == "hospital-b" else ""),
        TimestampMs(licence_ms),
    )


HOSPITALS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
MEMBERS = (
    _member("authority", "authority", 0),
    *(_member(name, "hospital", i) for i, name in enumerate(HOSPITALS)),
    _member("vendor-new", "vendor", 8, GENESIS_MS + 10**12),
    _member("vendor-old", "vendor", 9, GENESIS_MS + 500),
)

USERS: dict[str, tuple[FixedSigner, UserKey]] = {}


def _user(
    name: str,
    member: str,
    role: str,
    own: PatientKey | None = None,
    valid_until: TimestampMs = LATER,
) -> None:
    signer = FixedSigner(len(USERS) + 1)
    USERS[name] = (
        signer,
        UserKey(MemberId(member), signer.public_key, (role,), valid_until, own),
    )


for _hospital in HOSPITALS:
    for _role in ("administrator", "gateway", "registrar", "treating"):
        _user(f"{_hospital}/{_role}", _hospital, _role)
_user("vendor-new/vendor-service", "vendor-new", "vendor-service")
_user("vendor-old/vendor-service", "vendor-old", "vendor-service")
_user("authority/administrator", "authority", "administrator")
_user("resident-1", "hospital-a", "resident", patient(1))
_user("resident-2", "hospital-b", "resident", patient(2))
_user("guardian-1", "hospital-c", "guardian", patient(1))
_user("expired", "hospital-a", "gateway", valid_until=NOW)

GENESIS = Genesis(
    "test",
    TimestampMs(GENESIS_MS),
    Parameters(
        release_patients_min=K, rotation=1, empty_block_interval_ms=1, progress_timeout_ms=1
    ),
    MEMBERS,
    tuple(sorted((user for _, user in USERS.values()), key=lambda u: u.public_key.key_id)),
    tuple((MemberId(name), b"wrapped") for name in HOSPITALS),
    tuple((view, newest_rules(view).hash) for view in VIEWS),
)

VALIDATORS: dict[str, tuple[FixedSigner, UserKey]] = {
    f"{name}/validator": (signer, validator_key(MemberId(name), signer.public_key))
    for name, signer in ((name, FixedSigner(1_000 + i)) for i, name in enumerate(HOSPITALS))
}
"""Consensus keys, which genesis registers by itself."""


@dataclass
class DictState:
    """The obvious StateView."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    logs: dict[bytes, list[bytes]] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.values[key] = value

    def append(self, log: bytes, entry: bytes) -> int:
        self.logs.setdefault(log, []).append(entry)
        return len(self.logs[log]) - 1

    def log_count(self, log: bytes) -> int:
        return len(self.logs.get(log, []))

    def log_entry(self, log: bytes, index: int) -> bytes | None:
        entries = self.logs.get(log, [])
        return entries[index] if index < len(entries) else None


def genesis_state() -> DictState:
    return DictState(values=dict(genesis_values(GENESIS)))


@dataclass
class Caller:
    """Calls contracts as any user, at a height; each call has a transaction id of its own."""

    state: DictState = field(default_factory=genesis_state)
    height: int = 5
    time_ms: int = NOW
    calls: int = 0
    next_id: Hash32 | None = None
    """Id of the next transaction, where a test compares with a real one."""

    def context(self, user: UserKey) -> CallContext:
        self.calls += 1
        return CallContext(
            GENESIS.chain_id,
            Height(self.height),
            TimestampMs(self.time_ms),
            self.next_id or Hash32(b"\x7e" + self.calls.to_bytes(31, "big")),
            user.public_key.key_id,
            user,
        )

    def call(self, who: str | UserKey, name: str, *args: Value) -> tuple[Value, ...]:
        """Runs ``contract/action``; raises Refused, and then checks that nothing changed."""
        user = who if isinstance(who, UserKey) else (USERS.get(who) or VALIDATORS[who])[1]
        contract, action = name.split("/")
        before = copy.deepcopy((self.state.values, self.state.logs))
        try:
            return CONTRACTS[contract].call(action, args, self.context(user), self.state)
        except Refused:
            assert (self.state.values, self.state.logs) == before
            raise

    def refusal(
        self, who: str | UserKey, name: str, *args: Value
    ) -> tuple[str, tuple[Value, ...]] | None:
        """Code and fields with which the call was refused; None if it was not."""
        try:
            self.call(who, name, *args)
        except Refused as refused:
            return refused.code, refused.fields
        return None


def covered(state: DictState, own: PatientKey) -> list[bool]:
    """Whether the state covers each entry of a patient's access log, as a light client judges."""

    def judged(entry: Disclosed) -> bool:
        found = VerifiedValue(state.get(grant_key(entry)), fixed.header())
        return certificate_of(found, entry, own).header == found.header

    return [judged(Disclosed.decode(data)) for data in state.logs.get(access_log(own), [])]


def bind_args(
    new: FixedSigner,
    own: PatientKey,
    hospital: str = "hospital-a",
    role: str = "resident",
    until: int = NOW + YEAR_MS,
    replaces: tuple[KeyId, ...] = (),
) -> tuple[Value, ...]:
    """Arguments of ``members/bind_resident`` with the new key's own proof."""
    digest = enrolment_digest(
        GENESIS.chain_id, own, MemberId(hospital), role, CHALLENGE, new.public_key
    )
    possession = new.sign(digest)
    return own, role, new.public_key.encoded, until, CHALLENGE, possession, replaces


def signed(
    who: str | FixedSigner,
    name: str,
    *args: Value,
    nonce: int = 0,
    valid_until: int = 100,
    chain_id: Hash32 = GENESIS.chain_id,
) -> Verified[SignedTransaction]:
    """A transaction, signed and verified as in production."""
    signer = who if isinstance(who, FixedSigner) else USERS[who][0]
    contract, action = name.split("/")
    body = Transaction(
        chain_id,
        contract,
        action,
        args,
        signer.key_id,
        Nonce(nonce.to_bytes(16, "big")),
        Height(valid_until),
    )
    return verify_transaction(
        SignedTransaction.decode(sign_transaction(body, signer).encoded), signer.public_key
    )
