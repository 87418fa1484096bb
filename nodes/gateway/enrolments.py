"""One-time enrolment codes: a registrar makes one, the person's page posts its key under it.

They are kept in memory: a code lives minutes, and what it led to is on the chain.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ledger.crypto.keys import PublicKey
from ledger.errors import PeerFault
from ledger.primitives import Hash32, MemberId, Nonce, PatientKey, Signature
from nodes.api.http import Problem
from nodes.client.clock import wall_ms
from nodes.client.enrolment import EnrolmentCode

LIFE_MS = 15 * 60 * 1000
OPEN_MAX = 1_000
"""Codes at a time; beyond it the gateway is busy."""


@dataclass(slots=True)
class Enrolment:
    """One code, and the key that was posted under it."""

    code: EnrolmentCode
    expires_ms: int
    key: PublicKey | None = None
    possession: Signature | None = None


class Enrolments:
    """The open codes of one gateway."""

    def __init__(
        self, chain_id: Hash32, member: MemberId, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._chain_id = chain_id
        self._member = member
        self._now_ms = now_ms
        self._open: dict[Nonce, Enrolment] = {}

    def new(self, patient: PatientKey, role: str) -> Enrolment:
        """A fresh code for one key."""
        self._drop_old()
        if len(self._open) >= OPEN_MAX:
            raise Problem(503, "enrolment/too-many", "too many open codes; try again later", 60)
        challenge = Nonce(secrets.token_bytes(Nonce.SIZE))
        code = EnrolmentCode(self._chain_id, self._member, patient, role, challenge)
        made = Enrolment(code, self._now_ms() + LIFE_MS)
        self._open[challenge] = made
        return made

    def find(self, challenge: Nonce) -> Enrolment:
        """The open code of that challenge; 404 ``enrolment/unknown`` after its life."""
        self._drop_old()
        found = self._open.get(challenge)
        if found is None:
            raise Problem(
                404, "enrolment/unknown", "no such code, or it is over; ask for a new one"
            )
        return found

    def post(self, challenge: Nonce, key: PublicKey, possession: Signature) -> None:
        """Keeps the first key that proves itself; the same one again changes nothing.

        409 ``enrolment/used`` for another key, 400 ``enrolment/not-possessed`` without a proof.
        """
        found = self.find(challenge)
        try:
            found.code.check(key, possession)
        except PeerFault:
            raise Problem(
                400, "enrolment/not-possessed", "the key did not sign for this code"
            ) from None
        if found.key not in (None, key):
            raise Problem(
                409, "enrolment/used", "another key was posted under it; ask for a new code"
            )
        found.key, found.possession = key, possession

    def _drop_old(self) -> None:
        now = self._now_ms()
        # In the order of their making, which is that of their ends.
        while self._open:
            first = next(iter(self._open))
            if now < self._open[first].expires_ms:
                break
            del self._open[first]
