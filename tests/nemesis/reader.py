"""Reads the whole chain while it grows, and verifies it as a light client does."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ledger import codec
from ledger.errors import LedgerError, WorldFault
from ledger.light.bundles import MembershipChange
from ledger.light.trust import advance, trust_genesis
from ledger.merkle import log_tree
from ledger.primitives import Hash32, PatientKey
from ledger.types.block import Block, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate
from ledger.types.entries import Row, decode_patient_entry, patient_log
from ledger.types.genesis import Genesis
from ledger.types.transaction import SignedTransaction
from nodes.client.chain import ChainClient
from nodes.client.http import AnswerUnreadable, HttpClient, RequestRefused
from nodes.client.session import LightSession
from tests.nemesis.checker import Anomaly, CommittedBlock
from tests.nemesis.cluster import Cluster
from tests.nemesis.model import Call, Model

AT_ONCE = 16
PAUSE_SECONDS = 1.0
TRIES = 20
ANSWER_BYTES_MAX = 64 * 1024 * 1024


async def _at_once(
    http: HttpClient, target: str, heights: Iterable[int]
) -> list[bytes | RequestRefused]:
    """What is answered for each height; the refusal where it is not there; raises LedgerError."""

    async def fetch(height: int) -> bytes | RequestRefused:
        for _ in range(TRIES):
            try:
                return await http.get(f"{target}/{height}")
            except RequestRefused as refusal:
                return refusal
            except WorldFault:
                await asyncio.sleep(0.5)
        return await http.get(f"{target}/{height}")

    return await asyncio.gather(*map(fetch, heights))


class ChainReader:
    """The chain from height 1 on, kept in a file while it grows.

    All validators may lose their disks one after another, and begin again at snapshots: then the
    early blocks are nowhere any more, though nothing is lost that a client was told.
    """

    def __init__(self, genesis: Genesis, archive: Path) -> None:
        self._genesis = genesis
        self._archive = archive
        self._trusted = trust_genesis(genesis.encode(), genesis.chain_id)
        self.hashes: list[Hash32] = []
        """Header hashes of what is in the archive, from height 1 on."""
        self.anomalies: list[Anomaly] = []

    async def follow(self, cluster: Cluster) -> None:
        """Reads on for ever, from one validator after another."""
        for turn in itertools.count():
            node = cluster.nodes[turn % cluster.count]
            if node.running and not node.stopped:
                try:
                    await self.read(cluster.client(node.number), node.height)
                except (WorldFault, RequestRefused):
                    pass  # it is harmed just now; the next one is asked for the same
                except LedgerError as error:
                    self._report(f"{node.name} showed a block that does not verify: {error}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def read(self, http: HttpClient, height: int) -> None:
        """Archives each block up to ``height``, verified; raises LedgerError."""
        while (first := len(self.hashes) + 1) <= height:
            heights = range(first, min(first + AT_ONCE, height + 1))
            for data in await _at_once(http, "/v1/blocks", heights):
                if isinstance(data, RequestRefused):
                    raise data
                await self._keep(http, data)

    async def _keep(self, http: HttpClient, data: bytes) -> None:
        """The next block of the archive: certificate, parent, and both roots are verified."""
        block, receipts, certificate = _decoded(data)
        header, newest = block.header, CertifiedHeader(block.header, certificate)
        if header.height != len(self.hashes) + 1:
            self._report(f"height {header.height} was shown for {len(self.hashes) + 1}")
        changes: Sequence[MembershipChange] = ()
        if header.next_membership != header.membership:
            changes = (await ChainClient(http).membership_changes(self._trusted.height))[:1]
        self._trusted = advance(self._trusted, changes, newest)
        if self.hashes and header.parent != self.hashes[-1]:
            self._report(f"height {header.height} does not follow its parent")
        for root, entries in (
            (header.transaction_root, block.transactions),
            (header.receipt_root, receipts),
        ):
            if log_tree.root_of([log_tree.leaf_hash(entry) for entry in entries]) != root:
                self._report(f"height {header.height}: a root is not that of its entries")
        with self._archive.open("ab") as file:
            file.write(len(data).to_bytes(4, "big") + data)
        self.hashes.append(header.hash)

    def blocks(self) -> Iterator[CommittedBlock]:
        """Each block of the archive."""
        with self._archive.open("rb") as file:
            while head := file.read(4):
                block, receipts, _ = _decoded(file.read(int.from_bytes(head, "big")))
                yield CommittedBlock(block.header.height, _calls(block, receipts))

    async def compare(self, name: str, http: HttpClient) -> int:
        """SAFE-1: every header that another validator has is the one that was verified.

        Downwards to where it began at a snapshot; what is before that, the parents' hashes fix.
        Returns how many there were; raises LedgerError.
        """
        same = 0
        for end in range(len(self.hashes), 0, -AT_ONCE):
            heights = range(end, max(0, end - AT_ONCE), -1)
            answers = await _at_once(http, "/v1/headers", heights)
            for height, data in zip(heights, answers, strict=True):
                if isinstance(data, RequestRefused):
                    if not same:
                        self._report(f"{name} has no block at height {height}")
                    return same
                header = CertifiedHeader.decode(data).header
                if header.height != height or header.hash != self.hashes[height - 1]:
                    self._report(f"{name} has another block at height {height}")
                same += 1
        return same

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

    def _report(self, text: str) -> None:
        self.anomalies.append(Anomaly("chain", text))


def _decoded(data: bytes) -> tuple[Block, list[bytes], QuorumCertificate]:
    """Block, receipts and certificate of an answer of ``/v1/blocks``."""
    fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, "block answer"), 3, "answer")
    block = Block.decode(codec.binary(fields[0], "block", ANSWER_BYTES_MAX))
    certificate = QuorumCertificate.decode(codec.binary(fields[1], "certificate", ANSWER_BYTES_MAX))
    items = codec.array_up_to(fields[2], ANSWER_BYTES_MAX, "receipts")
    return block, [codec.binary(item, "receipt", ANSWER_BYTES_MAX) for item in items], certificate


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
