"""Serving shares: link and passcode in, proved records out, each step on the chain first.

A wrong passcode is committed before it is answered, so a restart gives no further tries. An
opening is committed before a byte leaves (ACC-1), and a share that was ended is refused by the
chain itself.
"""

import asyncio
import base64
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import codec
from ledger.codec import Value
from ledger.light.bundles import StateBundle
from ledger.light.consent import WrongShare, share_of
from ledger.light.records import ListedRow
from ledger.primitives import Hash32, MemberId
from ledger.types.block import Receipt
from ledger.types.entries import patient_log, row_status
from ledger.types.residents import (
    Share,
    share_content_key,
    share_key,
    share_token_hash,
    share_verifier,
)
from nodes.api.http import ANSWER_BYTES_MAX, Problem
from nodes.client.clock import wall_ms
from nodes.client.transactions import ActionRefused
from nodes.gateway.disclosure import DisclosureDesk

CONTENT_TYPE = "application/vnd.yilian.shared-record"
LOCATION_LIFE_MS = 5 * 60 * 1000
LOCATION_BYTES_MAX = 2 * ANSWER_BYTES_MAX
"""All files that wait to be fetched; the oldest are dropped."""
_CLOSED = {
    "ended": (410, "the share was ended"),
    "expired": (410, "the share has expired"),
    "locked": (423, "too many wrong passcodes; ask for a new share"),
}


@dataclass(frozen=True, slots=True)
class _File:
    share: Hash32
    expires_ms: int
    content: str


class ShareDesk:
    """Opens the shares of records that this hospital holds."""

    def __init__(
        self,
        member: MemberId,
        desk: DisclosureDesk,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """``desk`` reads and checks the records."""
        self._member = member
        self._session = desk.session
        self._chain = desk.chain
        self._desk = desk
        self._now_ms = now_ms
        self._turns: WeakValueDictionary[Hash32, asyncio.Lock] = WeakValueDictionary()
        self._files: dict[str, _File] = {}

    async def open(self, share_id: Hash32, token: bytes, passcode: str) -> list[str]:
        """The shared records as JWE texts; raises Problem. In this order:

        a) the share is of this hospital, and the token is its own: 404 share/not-available
        b) it can be opened: 410 share/ended or share/expired, 423 share/locked
        c) the passcode: 401 share/wrong-passcode, which is on the chain then; one try at a time, or
           parallel ones would share one attempt

        The share is proved as it was before the opening. Whatever closes it meanwhile (its end, its
        time, wrong passcodes at another gateway), it was open then if the chain lets it be opened,
        and the recipient refuses a share that its proof shows closed.
        """
        await self._find(share_id, token)
        async with self._turns.setdefault(share_id, asyncio.Lock()):
            state, share = await self._find(share_id, token)
            if not hmac.compare_digest(share.verifier, share_verifier(token, passcode)):
                receipt = await self._execute("fail", share_id)
                left = receipt.fields[0]
                raise Problem(
                    401,
                    "share/wrong-passcode",
                    "the passcode is wrong",
                    members={"remainingAttempts": left if isinstance(left, int) else 0},
                )
            _, listed = await self._session.patient_list(share.patient)
            rows = [row for row in listed.rows if row.index in share.rows]
            released = [await self._desk.prepare(row, share.view) for row in rows]
            await self._execute("open", share_id)
        key = share_content_key(token)
        hiding = None if share.view == "clinical" else await self._desk.rules("resident")
        files = []
        for row, record in zip(rows, released, strict=True):
            content = codec.encode(
                [
                    state.to_value(),
                    *await self._proofs(share, row),
                    record.kind,
                    record.disclosure.encode(),
                    record.attachments,
                    self._desk.row_key(row.row, hiding),
                ]
            )
            files.append(await asyncio.to_thread(seal_jwe, key, content, secrets.token_bytes(12)))
        return files

    async def _proofs(self, share: Share, listed: ListedRow) -> list[Value]:
        """[log-entries bundle of the row, state bundle of its status]: what a recipient without an
        account verifies beside the share."""
        entries, _ = await self._session.log_entries(patient_log(share.patient), [listed.index])
        status, _ = await self._session.state_bundle(row_status(listed.row.hash))
        return [entries.to_value(), status.to_value()]

    def keep(self, share_id: Hash32, content: str) -> str:
        """A name under which a file may be fetched for LOCATION_LIFE_MS."""
        now = self._now_ms()
        self._files = {n: f for n, f in self._files.items() if now < f.expires_ms}
        size = sum(len(f.content) for f in self._files.values()) + len(content)
        while self._files and size > LOCATION_BYTES_MAX:
            size -= len(self._files.pop(next(iter(self._files))).content)
        name = secrets.token_hex(32)
        self._files[name] = _File(share_id, now + LOCATION_LIFE_MS, content)
        return name

    async def fetch(self, name: str) -> str:
        """A kept file; its share is asked for again, so that an ended one is not served."""
        found = self._files.get(name)
        if found is None or found.expires_ms <= self._now_ms():
            raise _not_available()
        _, share = await self._share(found.share)
        self._check(share, count_attempts=False)
        return found.content

    async def _find(self, share_id: Hash32, token: bytes) -> tuple[StateBundle, Share]:
        bundle, share = await self._share(share_id)
        if not hmac.compare_digest(share.token_hash, share_token_hash(token)):
            raise _not_available()
        self._check(share)
        return bundle, share

    async def _share(self, share_id: Hash32) -> tuple[StateBundle, Share]:
        bundle, found = await self._session.state_bundle(share_key(share_id))
        try:
            share = share_of(found).share
        except WrongShare:
            raise _not_available() from None
        if share.holder != self._member:
            raise _not_available()
        return bundle, share

    def _check(self, share: Share, count_attempts: bool = True) -> None:
        closed = share.closed(self._now_ms())
        if closed is not None and (count_attempts or closed != "locked"):
            raise _closed(closed)

    async def _execute(self, action: str, share_id: Hash32) -> Receipt:
        try:
            return await self._chain.execute("share", action, [share_id])
        except ActionRefused as refused:
            word = refused.code.removeprefix("share/")
            raise _closed(word) if word in _CLOSED else _not_available() from None


def seal_jwe(key: bytes, content: bytes, iv: bytes) -> str:
    """JWE (RFC 7516), compact, direct key, AES-256-GCM; ``iv`` is 12 bytes, never used before."""
    header = _base64url(json.dumps({"alg": "dir", "enc": "A256GCM", "cty": CONTENT_TYPE}).encode())
    sealed = AESGCM(key).encrypt(iv, content, header.encode())
    return ".".join(
        [header, "", _base64url(iv), _base64url(sealed[:-16]), _base64url(sealed[-16:])]
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _closed(word: str) -> Problem:
    status, detail = _CLOSED[word]
    return Problem(status, f"share/{word}", detail)


def _not_available() -> Problem:
    return Problem(404, "share/not-available", "there is no such share here")
