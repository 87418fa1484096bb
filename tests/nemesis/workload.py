"""The clients: each loops over operations, and asks on at other validators when one is silent."""

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ledger.codec import Value
from ledger.errors import LedgerError
from ledger.primitives import Hash32, Height, MemberId, Nonce, PatientKey
from ledger.types.entries import patient_log, permission_key
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.client.chain import ChainClient, TransactionState
from nodes.client.http import AnswerUnreadable, RequestRefused, ServerBusy
from nodes.client.session import LightSession
from nodes.client.transactions import VALID_HEIGHTS
from nodes.config import user_key_name
from nodes.signer.key_files import FileSigner
from tests.nemesis.cluster import Cluster
from tests.nemesis.history import OK, REFUSED, History, Operation

CLIENTS = 16
PATIENTS = 48
EPOCH = 1
ANSWER_SECONDS = 20.0
"""After so long a client gives up: the outcome of its operation is unknown."""
WAIT_MS = 3_000
READ_SECONDS = 5.0
KINDS = ("append", "append", "cas", "grant", "revoke", "read", "fresh")


@dataclass(frozen=True)
class Place:
    """A row that may be superseded."""

    member: str
    patient: PatientKey
    index: int


@dataclass(frozen=True)
class Held:
    """A permission that was granted."""

    id: Hash32
    member: str


class Workload:
    """All clients of one run."""

    def __init__(self, cluster: Cluster, history: History, random: Random) -> None:
        self._cluster = cluster
        self._history = history
        self._random = random
        self._names = [node.name for node in cluster.nodes]
        self._signers = {
            (node.name, role): FileSigner.load(node.home / "keys" / user_key_name(role))
            for node in cluster.nodes
            for role in ("gateway", "treating")
        }
        self._patients = [PatientKey(secrets.token_bytes(32)) for _ in range(PATIENTS)]
        self._rows: deque[Place] = deque(maxlen=24)
        self._held: deque[Held] = deque(maxlen=24)
        self._sessions: dict[int, LightSession] = {}
        self._ended = False
        self.height = 0
        """Highest that was acknowledged or proved."""
        self.acknowledged = 0
        self.admissions: Counter[str] = Counter()
        """Codes with which validators refused to admit; the client then asked another one."""
        self.unreadable: list[str] = []

    @property
    def patients(self) -> Sequence[PatientKey]:
        """Whose logs the clients write."""
        return self._patients

    async def run(self) -> None:
        """Until ``end`` is called; then each client finishes what it does."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    def end(self) -> None:
        """Lets the clients finish."""
        self._ended = True

    async def _client(self) -> None:
        while not self._ended:
            await getattr(self, f"_{self._random.choice(KINDS)}")()
            await asyncio.sleep(self._random.random() * 0.2)

    # -- kinds of operations ------------------------------------------------------------------

    def _commitment(self) -> tuple[bytes, bytes]:
        return secrets.token_bytes(32), secrets.token_bytes(48)

    async def _append(self) -> None:
        member, patient = self._random.choice(self._names), self._random.choice(self._patients)
        args: list[Value] = [EPOCH, [[patient, *self._commitment()]]]
        state = await self._execute("append", member, "gateway", "index", "register", args)
        if state is not None and state.receipt is not None and state.receipt.ok:
            (index,) = state.receipt.fields[0]  # type: ignore[union-attr,misc]  # of this action
            self._rows.append(Place(member, patient, int(index)))

    async def _cas(self) -> None:
        """Two clients change one row: at most one may win."""
        if not self._rows:
            return
        row = self._random.choice(self._rows)
        tries = self._random.choice((1, 2, 2, 3))
        await asyncio.gather(*(self._supersede(row) for _ in range(tries)))

    async def _supersede(self, row: Place) -> None:
        args: list[Value] = [row.patient, row.index, EPOCH, *self._commitment()]
        member = row.member if self._random.random() < 0.9 else self._random.choice(self._names)
        state = await self._execute("cas", member, "gateway", "index", "supersede", args)
        if state is not None and state.receipt is not None and state.receipt.ok:
            self._rows.append(Place(row.member, row.patient, int(str(state.receipt.fields[1]))))

    async def _grant(self) -> None:
        member, patient = self._random.choice(self._names), self._random.choice(self._patients)
        args: list[Value] = [patient, "clinical", "TREAT"]
        state = await self._execute("grant", member, "treating", "access", "request", args)
        if state is not None and state.receipt is not None and state.receipt.ok:
            self._held.append(Held(Hash32(state.receipt.transaction_id), member))

    async def _revoke(self) -> None:
        """Ends a permission while gateways read under it; a stranger may not end it."""
        if not self._held:
            return
        held = self._random.choice(self._held)
        member = held.member if self._random.random() < 0.8 else self._random.choice(self._names)
        revoke = self._execute("revoke", member, "treating", "access", "revoke", [held.id])
        await asyncio.gather(revoke, self._disclose(held), self._disclose(held))
        await self._disclose(held)

    async def _read(self) -> None:
        if self._held:
            await self._disclose(self._random.choice(self._held))

    async def _disclose(self, held: Held) -> None:
        member = self._random.choice(self._names)
        await self._execute("read", member, "gateway", "audit", "disclose", [held.id, []])

    async def _fresh(self) -> None:
        """Asks all at once, with proofs, and takes the newest of the first q answers."""
        if self._held and self._random.random() < 0.5:
            key = permission_key(self._random.choice(self._held).id)
        else:
            key = patient_log(self._random.choice(self._patients))
        operation = self._history.begin("fresh", time.monotonic_ns(), key=key.hex())
        proofs = await self._first_proofs(key)
        if len(proofs) < self._cluster.quorum:
            return
        height, value = max(proofs.values(), key=lambda item: item[0])
        operation.observed = {self._names[number]: item[0] for number, item in proofs.items()}
        operation.height, operation.outcome = height, OK
        operation.value = None if value is None else value.hex()
        operation.completed_ns = time.monotonic_ns()
        self.height = max(self.height, height)

    async def _first_proofs(self, key: bytes) -> dict[int, tuple[int, bytes | None]]:
        """Height and value that the first q validators prove; fewer where the others are silent."""
        tasks = {asyncio.create_task(self._prove(i, key)): i for i in range(self._cluster.count)}
        proofs: dict[int, tuple[int, bytes | None]] = {}
        waiting = set(tasks)
        while waiting and len(proofs) < self._cluster.quorum:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                found = task.result()
                if found is not None and len(proofs) < self._cluster.quorum:
                    proofs[tasks[task]] = found
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return proofs

    async def _prove(self, number: int, key: bytes) -> tuple[int, bytes | None] | None:
        session = self._sessions.get(number)
        if session is None:
            chain = ChainClient(self._cluster.client(number))
            session = self._sessions[number] = LightSession(chain, self._cluster.genesis)
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await session.state(key)
        except (LedgerError, TimeoutError):
            # Also a validator that goes back, as after its disk was lost: it counts as silent.
            return None
        return found.header.height, found.value

    # -- transactions -------------------------------------------------------------------------

    async def _execute(
        self, kind: str, member: str, role: str, contract: str, action: str, args: list[Value]
    ) -> TransactionState | None:
        """Signs once, and sends the same bytes until there is a receipt or time is over."""
        signer = self._signers[MemberId(member), role]
        body = Transaction(
            self._cluster.genesis.chain_id,
            contract,
            action,
            tuple(args),
            signer.public_key.key_id,
            Nonce(secrets.token_bytes(Nonce.SIZE)),
            Height(self.height + VALID_HEIGHTS),
        )
        transaction = sign_transaction(body, signer)
        operation = self._history.begin(kind, time.monotonic_ns(), id=transaction.id.hex())
        deadline = time.monotonic() + ANSWER_SECONDS
        order = self._random.sample(range(self._cluster.count), self._cluster.count)
        while time.monotonic() < deadline:
            number = order.pop(0)
            order.append(number)
            state = await self._try(number, transaction)
            if state is not None and state.receipt is not None and state.place is not None:
                self._acknowledge(operation, number, state)
                return state
            await asyncio.sleep(0.1 + self._random.random() * 0.2)
        return None

    async def _try(self, number: int, transaction: SignedTransaction) -> TransactionState | None:
        chain = ChainClient(self._cluster.client(number))
        try:
            (result,) = await chain.submit([transaction.encoded])
            if not result.accepted:
                self.admissions[result.code] += 1
                return None
            return await chain.transaction(transaction.id, WAIT_MS)
        except AnswerUnreadable as error:
            self.unreadable.append(str(error))
        except RequestRefused as error:
            self.admissions[f"{error.status} {error.code}"] += 1
        except ServerBusy as error:
            self.admissions[error.code] += 1
        except LedgerError as error:
            self.admissions[type(error).__name__] += 1
        return None

    def _acknowledge(self, operation: Operation, number: int, state: TransactionState) -> None:
        assert state.receipt is not None
        assert state.place is not None
        operation.completed_ns = time.monotonic_ns()
        operation.height, operation.index = state.place
        operation.outcome = OK if state.receipt.ok else REFUSED
        operation.receipt = state.receipt.encode().hex()
        operation.server = self._names[number]
        self.height = max(self.height, operation.height)
        self.acknowledged += 1
