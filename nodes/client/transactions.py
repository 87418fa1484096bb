"""Builds, signs and submits transactions, and waits for their receipts.

A signed transaction is its own idempotency key: sending the same bytes again is harmless.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger.codec import Value
from ledger.crypto.keys import Signer
from ledger.errors import PeerFault, WorldFault
from ledger.limits import VALID_UNTIL_HEIGHTS_MAX
from ledger.primitives import Hash32, Height, Nonce
from ledger.types.block import Receipt
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.client.chain import ChainClient
from nodes.client.http import AnswerUnreadable, ServerBusy, retry_busy

VALID_HEIGHTS = VALID_UNTIL_HEIGHTS_MAX // 2
"""How far ahead a built transaction expires: half the allowed, so that a lagging node agrees."""
SUBMIT_SECONDS = 30.0
"""How long a full mempool is asked again."""
COMMIT_SECONDS = 60.0
"""How long a commit is waited for."""

_BATCH_TRANSACTIONS = 500
_BATCH_BYTES = 240 * 1024
_WAIT_MS = 10_000


@dataclass(eq=False)
class NotAdmitted(PeerFault):
    """A node refused a transaction before it was ordered."""

    transaction_id: Hash32
    code: str
    detail: str
    template = "transaction {transaction_id} was not admitted ({code}): {detail}"


@dataclass(eq=False)
class ActionRefused(PeerFault):
    """A transaction was executed, and its receipt says no."""

    action: str
    code: str
    transaction_id: Hash32
    template = "{action} was refused on chain ({code}, transaction {transaction_id})"


@dataclass(eq=False)
class NotCommitted(WorldFault):
    """The network did not commit a transaction in time; it may still do so."""

    transaction_id: Hash32
    seconds: int
    template = (
        "transaction {transaction_id} is not committed after {seconds} s; "
        "see `yilian status` whether enough validators run"
    )


class TransactionClient:
    """One key's way to the chain."""

    def __init__(self, chain: ChainClient, chain_id: Hash32, signer: Signer) -> None:
        self._chain = chain
        self._chain_id = chain_id
        self._signer = signer

    async def newest_height(self) -> Height:
        """The newest height, by the word of the server: it only bounds the validity."""
        height = (await self._chain.status()).get("height")
        if not isinstance(height, int) or isinstance(height, bool):
            raise AnswerUnreadable(self._chain.http.base_url, "its status has no height")
        return Height(height)

    def build(
        self, contract: str, action: str, args: Sequence[Value], height: Height
    ) -> SignedTransaction:
        """A fresh signed transaction that expires VALID_HEIGHTS after ``height``."""
        body = Transaction(
            self._chain_id,
            contract,
            action,
            tuple(args),
            self._signer.public_key.key_id,
            Nonce(secrets.token_bytes(Nonce.SIZE)),
            Height(height + VALID_HEIGHTS),
        )
        return sign_transaction(body, self._signer)

    async def submit(self, transactions: Sequence[SignedTransaction]) -> None:
        """Hands over all of them, in order and in parts, waiting while the mempool is full.

        Raises NotAdmitted for the first one that a node refuses for another reason.
        """
        for batch in _batches(transactions):
            await self._submit_batch(batch)

    async def _submit_batch(self, batch: Sequence[SignedTransaction]) -> None:
        deadline = asyncio.get_running_loop().time() + SUBMIT_SECONDS
        pause = 0.25
        while batch:
            try:
                results = await self._chain.submit([item.encoded for item in batch])
            except ServerBusy as busy:
                pause = await retry_busy(pause, busy, deadline)
                continue
            waiting = []
            for item, result in zip(batch, results, strict=True):
                if result.code == "mempool/full":
                    waiting.append(item)
                elif not result.accepted:
                    raise NotAdmitted(item.id, result.code, result.detail)
            batch = waiting
            if batch:
                full = ServerBusy(self._chain.http.base_url, "mempool/full", 1)
                pause = await retry_busy(pause, full, deadline)

    async def wait(self, transaction_id: Hash32, seconds: float = COMMIT_SECONDS) -> Receipt | None:
        """The receipt once it is committed; None when the time is over before that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left_ms := int((deadline - loop.time()) * 1000)) > 0:
            asked = loop.time()
            state = await self._chain.transaction(transaction_id, min(left_ms, _WAIT_MS))
            if state.receipt is not None:
                return state.receipt
            if loop.time() - asked < 0.05:  # a server that does not wait must not be hammered
                await asyncio.sleep(0.1)
        return None

    async def execute(self, contract: str, action: str, args: Sequence[Value]) -> Receipt:
        """Builds, submits and waits; the receipt of an action that took effect.

        Raises NotAdmitted, ActionRefused or NotCommitted.
        """
        transaction = self.build(contract, action, args, await self.newest_height())
        await self.submit([transaction])
        receipt = await self.wait(transaction.id)
        if receipt is None:
            raise NotCommitted(transaction.id, int(COMMIT_SECONDS))
        if not receipt.ok:
            raise ActionRefused(f"{contract}.{action}", receipt.code, transaction.id)
        return receipt


def _batches(transactions: Sequence[SignedTransaction]) -> Iterator[list[SignedTransaction]]:
    """Parts that fit one submission each, in order."""
    batch: list[SignedTransaction] = []
    size = 0
    for transaction in transactions:
        length = len(transaction.encoded)
        if batch and (len(batch) == _BATCH_TRANSACTIONS or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(transaction)
        size += length
    if batch:
        yield batch
