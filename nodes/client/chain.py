"""The chain as a node or gateway serves it: transactions in, headers and proof bundles out.

Nothing that comes back is verified here; ``nodes.client.session`` does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ledger import codec
from ledger.errors import LedgerError
from ledger.light.bundles import (
    MEMBERSHIP_CHANGES_MAX,
    MEMBERSHIP_CHANGES_PAGE,
    MembershipChange,
    decode_changes,
)
from ledger.primitives import Hash32
from ledger.types.block import Receipt
from ledger.types.certificate import CertifiedHeader
from nodes.client.http import AnswerUnreadable, HttpClient

NODE_PREFIX = "/v1"
GATEWAY_PREFIX = "/v1/chain"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A server's answer about one submitted transaction."""

    accepted: bool
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class TransactionState:
    """What a server says about a transaction."""

    status: str
    """"committed", "pending" or "unknown"."""
    receipt: Receipt | None
    """Only where committed; it is the server's word, not proved."""
    place: tuple[int, int] | None = None
    """Height, and index in its block, of a committed one; the server's word too."""


@dataclass(frozen=True, slots=True)
class ChainClient:
    """The calls of the validator's interface, directly or through a gateway."""

    http: HttpClient
    prefix: str = NODE_PREFIX

    async def submit(self, encoded: Sequence[bytes]) -> list[Submitted]:
        """Submits signed transactions (at most 500 and 256 KiB together)."""
        body = codec.encode(list(encoded))
        answer = await self.http.request(
            "POST", f"{self.prefix}/transactions", body, "application/msgpack"
        )
        results = self.http.parse_json(answer).get("results")
        if not isinstance(results, list) or len(results) != len(encoded):
            raise self._unreadable("one result for each transaction is wanted")
        return [self._submitted(result) for result in results]

    async def transaction(self, transaction_id: Hash32, wait_ms: int = 0) -> TransactionState:
        """State of a transaction; waits up to ``wait_ms`` for its commit."""
        target = f"{self.prefix}/transactions/{transaction_id.hex()}?wait={wait_ms}"
        answer = await self.http.get_json(target)
        status, receipt = answer.get("status"), answer.get("receipt")
        if status not in ("committed", "pending", "unknown"):
            raise self._unreadable("the status of a transaction is unknown")
        if status != "committed":
            return TransactionState(str(status), None)
        place = answer.get("height"), answer.get("index")
        if not all(type(number) is int for number in place):
            raise self._unreadable("a committed transaction has no place")
        return TransactionState(
            "committed", self._receipt(receipt, transaction_id), cast(tuple[int, int], place)
        )

    async def status(self) -> Mapping[str, object]:
        """Height, view, root, peers: the server's word."""
        return await self.http.get_json(f"{self.prefix}/status")

    async def genesis(self) -> bytes:
        """The genesis document's bytes; trust them only if their hash is the expected chain id."""
        return await self.http.get(f"{self.prefix}/genesis")

    async def newest_header(self) -> CertifiedHeader:
        """The newest certified header."""
        return CertifiedHeader.decode(await self.http.get(f"{self.prefix}/headers/latest"))

    async def header(self, height: int) -> CertifiedHeader:
        """The certified header of a height."""
        return CertifiedHeader.decode(await self.http.get(f"{self.prefix}/headers/{height}"))

    async def membership_changes(self, after: int) -> tuple[MembershipChange, ...]:
        """Changes of the validators after a height, oldest first; page by page."""
        found: list[MembershipChange] = []
        while len(found) < MEMBERSHIP_CHANGES_MAX:
            page = decode_changes(await self.http.get(f"{self.prefix}/memberships?from={after}"))
            found.extend(page)
            # A server that repeats itself is found out when its changes are followed.
            if len(page) < MEMBERSHIP_CHANGES_PAGE:
                break
            after = page[-1].certified.header.height
        return tuple(found)

    async def state(self, key: bytes) -> bytes:
        """``state`` bundle bytes."""
        return await self.http.get(f"{self.prefix}/state/{key.hex()}")

    async def log(self, key: bytes) -> bytes:
        """``log`` bundle bytes."""
        return await self.http.get(f"{self.prefix}/logs/{key.hex()}")

    async def log_entries(self, key: bytes, indexes: Sequence[int]) -> bytes:
        """``log-entries`` bundle bytes of rising indexes."""
        wanted = ",".join(map(str, indexes))
        return await self.http.get(f"{self.prefix}/logs/{key.hex()}/entries?indexes={wanted}")

    def _submitted(self, result: object) -> Submitted:
        if not isinstance(result, dict):
            raise self._unreadable("a result is no JSON object")
        code, detail = str(result.get("code"))[:64], str(result.get("detail"))[:300]
        return Submitted(result.get("status") == "accepted", code, detail)

    def _receipt(self, value: object, transaction_id: Hash32) -> Receipt:
        encoded = value.get("encoded") if isinstance(value, dict) else None
        try:
            receipt = Receipt.decode(bytes.fromhex(str(encoded)))
        except (ValueError, LedgerError):
            raise self._unreadable("the receipt cannot be decoded") from None
        if receipt.transaction_id != transaction_id:
            raise self._unreadable("the receipt is of another transaction")
        return receipt

    def _unreadable(self, reason: str) -> AnswerUnreadable:
        return AnswerUnreadable(self.http.base_url, reason)
