"""The resident's client: own key, own complete list, own access log, verified from genesis on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.codec import Value
from ledger.crypto.keys import Signer
from ledger.errors import WorldFault
from ledger.light.bundles import LogBundle
from ledger.light.consent import VerifiedDirectives, VerifiedShare
from ledger.light.permissions import DisclosureNotCovered, PermissionCertificate
from ledger.primitives import Hash32, PatientKey
from ledger.types.block import Receipt
from ledger.types.entries import Disclosed, user_key
from ledger.types.genesis import Genesis, UserKey
from nodes.client.chain import GATEWAY_PREFIX, ChainClient
from nodes.client.http import HttpClient
from nodes.client.records import PatientReader, RecordList, ShownRecord, find_row
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient

VIEW = "resident"
PURPOSE = "PATRQT"


@dataclass(eq=False)
class NotBound(WorldFault):
    """The resident's key is not registered as that of a patient."""

    key_id: Hash32
    template = (
        "key {key_id} is not bound to a patient yet; your hospital binds it with "
        "`yilian enrolment confirm`"
    )


class ResidentClient:
    """One resident over one gateway."""

    def __init__(
        self, http: HttpClient, genesis: Genesis, signer: Signer, trusted_file: Path | None = None
    ) -> None:
        """``http`` signs its requests with ``signer``'s key."""
        chain = ChainClient(http, GATEWAY_PREFIX)
        self.session = LightSession(chain, genesis, trusted_file=trusted_file)
        self._signer = signer
        self._transactions = TransactionClient(chain, genesis.chain_id, signer)
        self._reader = PatientReader(http, self.session, self._transactions)

    async def patient(self) -> PatientKey:
        """The patient key to which the own key is bound, as the chain proves; or NotBound."""
        key_id = self._signer.public_key.key_id
        found = await self.session.state(user_key(key_id))
        if found.value is None:
            raise NotBound(key_id)
        user = UserKey.decode(found.value)
        if user.patient is None:
            raise NotBound(key_id)
        return user.patient

    async def list(self) -> RecordList:
        """The complete list of own records."""
        return await self._reader.list(await self.patient(), None)

    async def show(self, index: int) -> ShownRecord:
        """One own record in the resident view, under a permission that is asked for now."""
        listed = find_row((await self.list()).verified, index)
        permission = await self._reader.request_permission(listed.row.patient, VIEW, PURPOSE)
        return await self._reader.read(listed, permission, VIEW)

    async def accesses(self) -> tuple[LogBundle, tuple[Disclosed, ...]]:
        """Who was shown own records, complete, oldest first, and the proof."""
        return await self.session.access_log(await self.patient())

    async def certificates(
        self, entries: Sequence[Disclosed]
    ) -> tuple[PermissionCertificate | DisclosureNotCovered, ...]:
        """What covered each of those own accesses, or why nothing did."""
        return await self.session.certificates(await self.patient(), entries)

    async def directives(self) -> VerifiedDirectives:
        """What the own patient permits and forbids; some may have ended."""
        return await self.session.directives(await self.patient())

    async def shares(self) -> Sequence[tuple[Hash32, VerifiedShare]]:
        """All own shares with their ids, open or closed, complete, oldest first."""
        return await self.session.shares(await self.patient())

    async def execute(self, contract: str, action: str, args: Sequence[Value]) -> Receipt:
        """Commits one own action: a directive, a request for a full copy, a share.

        Raises NotAdmitted, ActionRefused or NotCommitted.
        """
        return await self._transactions.execute(contract, action, args)
