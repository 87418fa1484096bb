"""What a client asks a server, where it asks, and what it does with the answers.

A visit is a call of ``tests.light.calls`` whose arguments are partly the client's own and partly
answers of the server, fetched from the paths of the real interfaces.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger import codec
from ledger.light.bundles import Bundle, MembershipChange, encode_changes
from ledger.light.permissions import grant_key
from ledger.light.trust import TrustedChain
from ledger.primitives import Hash32, MemberId, PatientKey
from ledger.types.certificate import CertifiedHeader
from ledger.types.entries import Disclosed, access_log, patient_log, release_log
from ledger.types.residents import directives_key, share_key
from tests.light.kit import MAX_AGE_MS, PATIENT

Untrusted = Bundle | bytes


@dataclass(frozen=True)
class Asked:
    """Where an argument comes from."""

    path: str
    """Below the server's address, with its query."""
    body: bytes
    """The answer."""
    place: tuple[int, ...] = ()
    """Where the argument stands in the answer, an array; the whole answer if empty."""


@dataclass(frozen=True)
class Visit:
    """One question, with the answers that it gets."""

    call: str
    arguments: tuple[Any, ...]
    """Those that are ``Asked`` are fetched."""

    @property
    def answers(self) -> dict[str, bytes]:
        """What the server says, by path."""
        return {each.path: each.body for each in self.arguments if isinstance(each, Asked)}

    def given(self, bodies: Mapping[str, bytes]) -> list[Any]:
        """The call's arguments, once those were fetched."""
        return [
            part_of(bodies[each.path], each.place) if isinstance(each, Asked) else each
            for each in self.arguments
        ]

    def direct(self) -> list[Any]:
        """The call's arguments without a server."""
        return self.given(self.answers)

    def for_browser(self) -> dict[str, Any]:
        """The visit without its answers, in JSON, for ``visitor.js``."""
        return {"call": self.call, "arguments": [_written(each) for each in self.arguments]}


def part_of(body: bytes, place: tuple[int, ...]) -> bytes:
    """The byte string at that place of an array; raises NotCanonical or TooLarge."""
    if not place:
        return body
    value = codec.decode(body, len(body), "answer")
    for index in place:
        value = value[index]  # type: ignore[index, call-overload]  # a lie lies further inside
    return codec.binary(value, "part of an answer", len(body))


def _written(argument: Any) -> Any:
    if isinstance(argument, Asked):
        return {"path": argument.path, "place": list(argument.place)}
    if isinstance(argument, int):
        return f"={argument}"
    if isinstance(argument, list):
        return [_written(each) for each in argument]
    return None if argument is None else argument.hex()


def encoded(bundle: Any) -> bytes:
    """Bytes as they are; anything else encoded."""
    return bundle if isinstance(bundle, bytes) else bundle.encode()


def read_genesis(document: bytes, chain_id: bytes | None) -> Visit:
    """The genesis document of a network of which only the id is known."""
    return Visit("trust genesis", (Asked("/v1/genesis", document), chain_id))


def refresh(
    trusted: TrustedChain,
    changes: tuple[MembershipChange, ...] | list[MembershipChange] | bytes,
    newest: CertifiedHeader | bytes,
    now_ms: int,
) -> Visit:
    """A return visit: the membership changes since then, and the newest header."""
    told = changes if isinstance(changes, bytes) else encode_changes(tuple(changes))
    return Visit(
        "refresh",
        (
            trusted.encode(),
            Asked(f"/v1/memberships?from={trusted.height}", told),
            Asked("/v1/headers/latest", encoded(newest)),
            now_ms,
            MAX_AGE_MS,
        ),
    )


def _about(call: str, path: Callable[..., str]) -> Callable[..., Visit]:
    """A visit that asks one path and verifies the answer for ``about``."""

    def visit(trusted: TrustedChain, bundle: Untrusted, about: bytes, now_ms: int) -> Visit:
        asked = Asked(path(about), encoded(bundle))
        return Visit(call, (trusted.encode(), asked, about, now_ms, MAX_AGE_MS))

    return visit


read_state = _about("state", lambda key: f"/v1/state/{key.hex()}")
read_log = _about("log", lambda key: f"/v1/logs/{key.hex()}")
read_list = _about("patient list", lambda patient: f"/v1/logs/{patient_log(patient).hex()}")
read_accesses = _about("access log", lambda patient: f"/v1/logs/{access_log(patient).hex()}")
read_entry = _about("log entry", lambda key: f"/v1/logs/{key.hex()}/4")
read_entries = _about("log entries", lambda key: f"/v1/logs/{key.hex()}/entries?indexes=0,4,8")


read_directives = _about(
    "patient directives", lambda patient: f"/v1/state/{directives_key(PatientKey(patient)).hex()}"
)


def read_share(
    trusted: TrustedChain, bundle: Untrusted, share: bytes, token: bytes, now_ms: int
) -> Visit:
    """The share of a link, as its recipient has it."""
    return _share("link share", trusted, bundle, share, token, now_ms)


def read_own_share(
    trusted: TrustedChain, bundle: Untrusted, share: bytes, patient: bytes, now_ms: int
) -> Visit:
    """A share of a patient, as the patient has it."""
    return _share("own share", trusted, bundle, share, patient, now_ms)


def _share(
    call: str, trusted: TrustedChain, bundle: Untrusted, share: bytes, about: bytes, now_ms: int
) -> Visit:
    asked = Asked(f"/v1/state/{share_key(Hash32(share)).hex()}", encoded(bundle))
    return Visit(call, (trusted.encode(), asked, share, about, now_ms, MAX_AGE_MS))


def read_certificate(
    trusted: TrustedChain,
    bundle: Untrusted,
    entry: Disclosed,
    now_ms: int,
    patient: PatientKey = PATIENT,
) -> Visit:
    """The permission or share under which an entry of the verified access log was recorded."""
    asked = Asked(f"/v1/state/{grant_key(entry).hex()}", encoded(bundle))
    arguments = (trusted.encode(), asked, entry.encode(), patient, now_ms, MAX_AGE_MS)
    return Visit("permission certificate", arguments)


def read_record(
    root: bytes, disclosure: Any, rules: list[bytes], patient: PatientKey = PATIENT
) -> Visit:
    """A record of a row whose root the client verified, from a gateway; by rules it knows."""
    body = codec.encode(["Observation", encoded(disclosure), []])
    path = f"/v1/patients/{patient.hex()}/records/0?permission={bytes(32).hex()}"
    return Visit("disclosure", (root, Asked(path, body, (1,)), rules))


def read_released(
    trusted: bytes,
    entry: bytes,
    disclosure: bytes,
    holder: bytes,
    hashes: bytes,
    rules: list[bytes],
    now_ms: int,
    max_age_ms: int,
) -> Visit:
    """A de-identified record of a hospital's releases, from its gateway."""
    page = codec.encode([None, None, [disclosure]])
    query = f"permission={bytes(32).hex()}&kind=&code=&cursor=0&limit=1"
    return Visit(
        "deidentified",
        (
            trusted,
            Asked(f"/v1/logs/{release_log(MemberId(holder.decode())).hex()}/9", entry),
            Asked(f"/v1/deidentified?{query}", page, (2, 0)),
            holder,
            hashes,
            rules,
            now_ms,
            max_age_ms,
        ),
    )
