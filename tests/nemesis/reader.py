"""Reads the whole chain from every validator in the end, and verifies it as a light client does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from ledger import codec
from ledger.errors import WorldFault
from ledger.light.trust import TrustedChain, trust_genesis, verify_header
from ledger.merkle import log_tree
from ledger.primitives import Hash32, PatientKey
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate
from ledger.types.entries import Row, decode_patient_entry, patient_log
from ledger.types.genesis import Genesis
from ledger.types.transaction import SignedTransaction
from nodes.client.chain import ChainClient
from nodes.client.http import AnswerUnreadable, HttpClient
from nodes.client.session import LightSession
from tests.nemesis.checker import Anomaly, CommittedBlock
from tests.nemesis.model import Call, Model

AT_ONCE = 16
TRIES = 20
ANSWER_BYTES_MAX = 64 * 1024 * 1024

T = TypeVar("T")


async def _in_order(
    heights: range, fetch: Callable[[int], Awaitable[bytes]]
) -> AsyncIterator[tuple[int, bytes]]:
    """Answers for all heights, some asked for at once."""
    for start in range(heights.start, heights.stop, AT_ONCE):
        part = range(start, min(start + AT_ONCE, heights.stop))
        for height, data in zip(part, await asyncio.gather(*map(fetch, part)), strict=True):
            yield height, data


def _again(http: HttpClient, target: str) -> Callable[[int], Awaitable[bytes]]:
    async def fetch(height: int) -> bytes:
        for _ in range(TRIES):
            try:
                return await http.get(f"{target}/{height}")
            except WorldFault:
                await asyncio.sleep(0.5)
        return await http.get(f"{target}/{height}")

    return fetch


class ChainReader:
    """The chain up to one height, from all validators of a network."""

    def __init__(self, genesis: Genesis, height: int) -> None:
        self._genesis = genesis
        self._height = height
        self._trusted = trust_genesis(genesis.encode(), genesis.chain_id)
        self.hashes: list[Hash32] = []
        """Header hashes from height 1 on, once ``blocks`` is done."""
        self.anomalies: list[Anomaly] = []

    async def blocks(self, http: HttpClient) -> AsyncIterator[CommittedBlock]:
        """Each block, with certificate, parent, and both roots verified; raises LedgerError."""
        parent: Header | None = None
        heights = range(1, self._height + 1)
        async for _, data in _in_order(heights, _again(http, "/v1/blocks")):
            fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, "block answer"), 3, "answer")
            block = Block.decode(codec.binary(fields[0], "block", ANSWER_BYTES_MAX))
            certificate = QuorumCertificate.decode(
                codec.binary(fields[1], "certificate", ANSWER_BYTES_MAX)
            )
            header = self._verified(CertifiedHeader(block.header, certificate))
            items = codec.array_up_to(fields[2], ANSWER_BYTES_MAX, "receipts")
            receipts = [codec.binary(item, "receipt", ANSWER_BYTES_MAX) for item in items]
            if parent is not None and header.parent != parent.hash:
                self._report(f"height {header.height} does not follow its parent")
            for root, entries in (
                (header.transaction_root, block.transactions),
                (header.receipt_root, receipts),
            ):
                if log_tree.root_of([log_tree.leaf_hash(entry) for entry in entries]) != root:
                    self._report(f"height {header.height}: a root is not that of its entries")
            parent = header
            self.hashes.append(header.hash)
            yield CommittedBlock(header.height, _calls(block, receipts))

    async def compare(self, name: str, http: HttpClient) -> None:
        """SAFE-1: every header of another validator is certified and the same."""
        heights = range(1, self._height + 1)
        async for height, data in _in_order(heights, _again(http, "/v1/headers")):
            header = self._verified(CertifiedHeader.decode(data))
            if header.height != height or header.hash != self.hashes[height - 1]:
                self._report(f"{name} has another block at height {height}")

    async def compare_state(
        self, name: str, http: HttpClient, model: Model, patients: list[PatientKey]
    ) -> None:
        """SAFE-3: each patient's list, as this validator proves it, is the model's."""
        session = LightSession(ChainClient(http), self._genesis)
        for patient in patients:
            found = (await session.log(patient_log(patient)))[1]
            rows = [
                entry.root if isinstance(entry := decode_patient_entry(data), Row) else None
                for data in found.entries
            ]
            expected = [None if row is None else row.root for row in model.logs.get(patient, [])]
            if rows != expected:
                self._report(f"{name} proves another list of a patient than the model has")

    def _verified(self, untrusted: CertifiedHeader) -> Header:
        # From genesis, not from the last: memberships do not change, and each stands alone.
        trusted: TrustedChain = self._trusted
        return verify_header(trusted, untrusted)

    def _report(self, text: str) -> None:
        self.anomalies.append(Anomaly("chain", text))


def _calls(block: Block, receipts: list[bytes]) -> tuple[Call, ...]:
    calls = []
    for encoded, receipt_bytes in zip(block.transactions, receipts, strict=True):
        transaction, receipt = SignedTransaction.decode(encoded), Receipt.decode(receipt_bytes)
        body = transaction.body
        if receipt.transaction_id != transaction.id:
            raise AnswerUnreadable("the chain", "a receipt is of another transaction")
        calls.append(
            Call(
                transaction.id,
                body.signer,
                body.contract,
                body.action,
                body.args,
                receipt.code,
                receipt.fields,
                receipt_bytes,
            )
        )
    return tuple(calls)
