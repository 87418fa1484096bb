"""The asyncio shell around the driver: threads for signatures, timers, waiters. No rule is here."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ledger.contract_api import ContractTable
from ledger.crypto.keys import PublicKey, Signer, Verified
from ledger.errors import BadSignature, PeerFault, WorldFault
from ledger.execution import TransactionRefused
from ledger.mempool import AlreadyKnown, MempoolFull
from ledger.primitives import Hash32, Height, KeyId, MemberId, TimestampMs
from ledger.state import State
from ledger.types.evidence import EVIDENCE_LOG, Evidence, evidence_key
from ledger.types.genesis import Genesis
from ledger.types.transaction import SignedTransaction, verify_transaction
from nodes.api.facade import SubmitResult
from nodes.api.server import MEMPOOL_FULL
from nodes.driver import Driver, World
from nodes.frames import Channel, decode_transactions, split_frame
from nodes.ports import SafetyStore, TraceSink, Transport
from nodes.quotas import SIGNATURE_US
from nodes.storage.ledger_store import LedgerStore

VERIFY_THREADS = 2
GOSSIP_FRAMES_MAX = 64
"""Frames of transactions of one peer that wait for their signatures to be checked."""
GOSSIP_BYTES_MAX = 8 * 1024 * 1024
"""Their bytes, together: a second of the fastest honest gossip, and two of the largest frames."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_ms(self) -> int:
        """For timers."""
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> TimestampMs:
        """For block times."""
        return TimestampMs(time.time_ns() // 1_000_000)


Outcome = Verified[SignedTransaction] | PeerFault
_Job = tuple[SignedTransaction, PublicKey]


def _verify_all(jobs: Sequence[_Job]) -> list[Outcome]:
    """Runs in a thread; OpenSSL releases the GIL for the length of a verification."""
    outcomes: list[Outcome] = []
    for signed, key in jobs:
        try:
            outcomes.append(verify_transaction(signed, key))
        except PeerFault as fault:
            outcomes.append(fault)
    return outcomes


class _Gossip:
    """Frames of transactions of one peer, bounded in number and bytes."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(GOSSIP_FRAMES_MAX)
        self._bytes = 0

    def put(self, frame: bytes) -> bool:
        """Whether there was room."""
        if self._frames.full() or self._bytes + len(frame) > GOSSIP_BYTES_MAX:
            return False
        self._frames.put_nowait(frame)
        self._bytes += len(frame)
        return True

    async def get(self) -> bytes:
        """The oldest."""
        frame = await self._frames.get()
        self._bytes -= len(frame)
        return frame


class NodeRuntime:
    """A running validator; implements ``nodes.api.facade.NodeFacade``."""

    def __init__(
        self,
        genesis: Genesis,
        member: MemberId,
        contracts: ContractTable,
        store: LedgerStore,
        safety: SafetyStore | None,
        signer: Signer | None,
        trace: TraceSink,
        disk_low: Callable[[], bool] = lambda: False,
    ) -> None:
        """``disk_low`` says that clients' transactions must wait until there is space (L5)."""
        self._disk_low = disk_low
        self._genesis = genesis
        self._member = member
        self._contracts = contracts
        self._store = store
        self._safety = safety
        self._signer = signer
        self._trace = trace
        self._waiters: dict[Hash32, list[asyncio.Future[None]]] = {}
        self._pool = ThreadPoolExecutor(VERIFY_THREADS, "verify")
        self._gossip: dict[MemberId, _Gossip] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._tick: asyncio.TimerHandle | None = None
        self._connected: Callable[[], set[MemberId]] = set
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises what ended this node; the process must exit then."""

    def start(self, transport: Transport, connected: Callable[[], set[MemberId]]) -> None:
        """Begins to take part; ``transport`` delivers to ``on_frame``."""
        self._connected = connected
        world = World(
            clock=SystemClock(),
            transport=transport,
            trace=self._trace,
            store=self._store,
            safety=self._safety,
            signer=self._signer,
            committed=self._on_committed,
        )
        self._driver = Driver(self._genesis, self._member, self._contracts, world)
        self._turn(self._driver.start)

    async def stop(self) -> None:
        """Ends all tasks and threads; the store stays open for its owner to close."""
        if self._tick is not None:
            self._tick.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown()

    # -- turns of the driver ------------------------------------------------------------------

    def _turn(self, turn: Callable[[], object]) -> None:
        """Runs one turn; whatever it raises ends the node, because halting beats guessing."""
        if self.failed.done():
            return
        try:
            turn()
        except Exception as error:  # noqa: BLE001  # handed to the owner, who exits
            self._fail(error)
            return
        self._schedule()

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self._trace.emit("stopped", reason=type(error).__name__)
            self.failed.set_exception(error)

    def _schedule(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        loop = asyncio.get_running_loop()
        self._tick = loop.call_later(self._driver.idle_ms() / 1000, self._turn, self._driver.tick)

    def on_frame(self, peer: MemberId, data: bytes) -> None:
        """One frame from a connected validator."""
        if peer not in self._driver.peers:
            return
        if data[:1] == bytes([Channel.TRANSACTIONS]):
            queue = self._gossip.get(peer)
            if queue is None:
                queue = self._gossip[peer] = _Gossip()
                self._tasks.append(asyncio.create_task(self._verify_gossip(peer)))
            if not queue.put(data):
                self._driver.quotas.drop(peer, Channel.TRANSACTIONS)
            return
        self._turn(lambda: self._driver.on_frame(peer, data))

    async def _verify_gossip(self, peer: MemberId) -> None:
        while True:
            data = await self._gossip[peer].get()
            quotas = self._driver.quotas
            # Judged here and not on arrival, because only now is known what those before cost.
            if not quotas.admits(peer, Channel.TRANSACTIONS, len(data)):
                continue
            try:
                encoded = decode_transactions(split_frame(data)[1])
                quotas.charge(peer, Channel.TRANSACTIONS, len(encoded) * SIGNATURE_US)
                refusals = await self._admit([SignedTransaction.decode(e) for e in encoded], False)
            except PeerFault as fault:
                quotas.blame(peer, Channel.TRANSACTIONS, fault)
                continue
            except WorldFault as fault:
                self._fail(fault)
                return
            # Other refusals are no fault: the two may have executed different heights.
            forged = [fault for fault in refusals.values() if isinstance(fault, BadSignature)]
            if forged:
                quotas.blame(peer, Channel.TRANSACTIONS, forged[0], len(forged))

    # -- admission ----------------------------------------------------------------------------

    async def _admit(
        self, transactions: Sequence[SignedTransaction], from_client: bool
    ) -> dict[Hash32, PeerFault | WorldFault | None]:
        """Verifies in threads and admits; the refusal of each id, or None."""
        results: dict[Hash32, PeerFault | WorldFault | None] = {}
        jobs: list[_Job] = []
        state = State(self._store)
        for signed in transactions:
            known = self._driver.mempool.get_by_bytes(signed.encoded) is not None
            if known or self._store.executed(signed.id) is not None:
                results[signed.id] = None
                continue
            signer = self._contracts.signer(state, signed.body.signer)
            if signer is None:
                results[signed.id] = TransactionRefused(signed.id, "transaction/unknown-signer")
            else:
                jobs.append((signed, signer.public_key))
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._pool, _verify_all, jobs) if jobs else []
        verified: list[Verified[SignedTransaction]] = []
        for (signed, _), outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, PeerFault):
                results[signed.id] = outcome
            else:
                verified.append(outcome)

        def admit() -> None:
            refusals = self._driver.admit(verified, from_client)
            for transaction, refusal in zip(verified, refusals, strict=True):
                known = isinstance(refusal, AlreadyKnown)
                # Others may have had it committed while its signature was checked here.
                known = known or self._store.executed(transaction.value.id) is not None
                results[transaction.value.id] = None if known else refusal

        if verified:
            self._turn(admit)
        return results

    async def submit(self, encoded: Sequence[bytes]) -> list[SubmitResult]:
        """Decodes, verifies and admits; one result for each, in order."""
        if self._disk_low():
            self._trace.emit("disk_low")
            advice = "the node's disk is almost full; its operator must free space"
            return [SubmitResult(None, "refused", MEMPOOL_FULL, advice)] * len(encoded)
        decoded: list[SignedTransaction | PeerFault] = []
        for item in encoded:
            try:
                decoded.append(SignedTransaction.decode(item))
            except PeerFault as fault:
                decoded.append(fault)
        transactions = [item for item in decoded if isinstance(item, SignedTransaction)]
        try:
            refusals = await self._admit(transactions, True)
        except WorldFault as fault:
            self._fail(fault)  # what was read on the way is damaged: nothing here may be relied on
            raise
        return [
            SubmitResult(None, "refused", "transaction/malformed", str(item))
            if isinstance(item, PeerFault)
            else _submit_result(item.id, refusals.get(item.id))
            for item in decoded
        ]

    # -- questions ----------------------------------------------------------------------------

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis document."""
        return self._genesis

    @property
    def store(self) -> LedgerStore:
        """The committed chain."""
        return self._store

    def pending(self, transaction_id: Hash32) -> bool:
        """Whether it waits in the mempool."""
        return self._driver.mempool.get(transaction_id) is not None

    async def wait_committed(self, transaction_id: Hash32, timeout_ms: int) -> None:
        """Returns when the transaction is committed, or when the time is over."""
        if self._store.executed(transaction_id) is not None:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(transaction_id, []).append(waiter)
        await asyncio.wait([waiter], timeout=timeout_ms / 1000)
        waiters = self._waiters.get(transaction_id, [])
        if waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[transaction_id]

    def _on_committed(self, height: Height, ids: Sequence[Hash32]) -> None:
        for transaction_id in ids:
            for waiter in self._waiters.pop(transaction_id, []):
                if not waiter.done():
                    waiter.set_result(None)

    def _recorded(self) -> Iterator[Evidence]:
        """Double votes that are on the chain, of keys that vote and of earlier ones."""
        state = State(self._store)
        for index in range(state.log_count(EVIDENCE_LOG)):
            accused = KeyId(state.log_entry(EVIDENCE_LOG, index) or b"")
            yield Evidence.decode(state.get(evidence_key(accused)) or b"")

    def _accused(self, evidence: Evidence) -> str:
        user = self._contracts.signer(State(self._store), evidence.key_id)
        return "" if user is None else user.member

    def status(self) -> Mapping[str, object]:
        """The JSON members of ``GET /v1/status``."""
        driver, store = self._driver, self._store
        header = store.header(store.height) if store.height else None
        primary = driver.membership.validators[driver.replica.primary].member
        connected = self._connected()
        return {
            "member": self._member,
            "chain_id": driver.chain_id.hex(),
            "height": store.height,
            "view": driver.replica.view,
            "entered": driver.replica.entered,
            "view_changes": driver.view_changes,
            "state_root": store.state_root.hex(),
            "header_hash": "" if header is None else header.hash.hex(),
            "time_ms": self._genesis.time_ms if header is None else header.time_ms,
            "primary": primary,
            "observer": driver.observer,
            "voters": [validator.member for validator in driver.membership.validators],
            "evidence": [
                *(_evidence_json(found, self._accused(found), True) for found in self._recorded()),
                *(
                    _evidence_json(found, self._accused(found), False)
                    for found in driver.evidence.pending()
                ),
            ],
            "mempool": len(driver.mempool),
            "peers": [
                {
                    "member": member,
                    "connected": member in connected,
                    "height": peer.status.height,
                    "view": peer.status.view,
                    "faults": driver.quotas.faults(member),
                    "dropped": driver.quotas.dropped(member),
                }
                for member, peer in sorted(driver.peers.items())
            ],
        }


def _evidence_json(evidence: Evidence, member: str, recorded: bool) -> Mapping[str, object]:
    return {
        "member": member,
        "vote": evidence.tag.removeprefix("sign-"),
        "height": evidence.height,
        "view": evidence.view,
        "key_id": evidence.key_id.hex(),
        "recorded": recorded,
    }


def _submit_result(transaction_id: Hash32, refusal: PeerFault | WorldFault | None) -> SubmitResult:
    if refusal is None:
        return SubmitResult(transaction_id, "accepted", "ok", "")
    if isinstance(refusal, TransactionRefused):
        return SubmitResult(transaction_id, "refused", refusal.code, str(refusal))
    if isinstance(refusal, MempoolFull):
        return SubmitResult(transaction_id, "refused", MEMPOOL_FULL, str(refusal))
    return SubmitResult(transaction_id, "refused", "transaction/bad-signature", str(refusal))
