"""Judges a whole history against the whole chain: strict serialisability, and nothing lost.

Each acknowledgement says where its operation stands (height, index), so that no order has to be
searched for; one pass over the history sorted by time and one over the chain decide. What is
checked, each with the name under which it is reported:

- ``doubled``: a transaction, or an acknowledged position, occurs twice
- ``lost``: what was acknowledged is not in the chain, or with another receipt or elsewhere
- ``invented``: the chain holds what no client asked for
- ``accused``: a validator is reported for a double vote though it never lost what it had signed
- ``real-time``: an operation stands before one that was acknowledged before it was invoked
- ``model``: a receipt is not what a dumb model answers at that position
- ``stale``: a fresh read is below what was established before it was invoked
- ``read``: a fresh read is not the model's state at its height
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ledger.types.entries import LogRoot, Permission
from tests.nemesis.history import UNKNOWN, Operation
from tests.nemesis.model import Call, Model, accused_in

AFTER_BLOCK = 1 << 62
"""Index of a read of a height: behind everything in its block."""

RENEWAL = ("governance", "renew_key")
"""What the operators of validators ask for, beside all clients."""
REPORT = ("evidence", "report")
"""What validators report of each other."""

Position = tuple[int, int]


@dataclass(frozen=True)
class Anomaly:
    """One thing that must not be."""

    kind: str
    text: str


@dataclass(frozen=True)
class CommittedBlock:
    """One height of the chain, verified by the light client's verifier before."""

    height: int
    calls: tuple[Call, ...]


class Checker:
    """One pass over each; memory and time are linear in history and chain."""

    def __init__(
        self,
        history: Sequence[Operation],
        users: Mapping[bytes, str],
        voters: Mapping[bytes, str],
        forgetful: Set[str],
    ) -> None:
        """``users`` and ``voters``: members by key id; ``forgetful``: who may vote twice."""
        self.anomalies: list[Anomaly] = []
        self.positions: dict[str, Position] = {}
        """Where the chain has each transaction."""
        self.model = Model(users, voters)
        self._forgetful = forgetful
        self._asked = {op.id: op for op in history if op.id}
        self._history = history
        self._height = 0
        self._reads: dict[int, list[Operation]] = {}
        for op in history:
            if op.kind == "fresh" and op.height is not None:
                self._reads.setdefault(op.height, []).append(op)

    def finish(self, needed: int) -> list[Anomaly]:
        """All anomalies, after the last block.

        ``needed``: so many servers must have shown a height to establish it for fresh reads.
        """
        for height in sorted(self._reads):
            if height > self._height:
                for op in self._reads[height]:
                    text = f"{_name(op)} read height {height}, the chain has {self._height}"
                    self._report("lost", text)
        self._acknowledged()
        self._real_time()
        self._fresh(needed)
        return self.anomalies

    def _report(self, kind: str, text: str) -> None:
        self.anomalies.append(Anomaly(kind, text))

    # -- along the chain ----------------------------------------------------------------------

    def add(self, block: CommittedBlock) -> None:
        """The next block of the chain."""
        self._height = block.height
        for index, call in enumerate(block.calls):
            place, name = (block.height, index), call.id.hex()
            if name in self.positions:
                self._report("doubled", f"{name} at {self.positions[name]} and {place}")
            self.positions.setdefault(name, place)
            asked = self._asked.get(name)
            if asked is None:
                self._check_unasked(call, name, place)
            elif asked.outcome != UNKNOWN and bytes.fromhex(asked.receipt) != call.receipt:
                self._report("lost", f"{_name(asked)}: the chain has another receipt")
            expected = self.model.answer(call, block.height)
            if expected != (call.code, call.fields):
                found = f"{call.code} {call.fields}"
                self._report(
                    "model", f"{call.contract}.{call.action} at {place}: {found}, not {expected}"
                )
        for op in self._reads.get(block.height, ()):
            if not self._reads_model(op):
                self._report("read", f"{_name(op)} at height {block.height}: {op.key} {op.value}")

    def _check_unasked(self, call: Call, name: str, place: Position) -> None:
        what = (call.contract, call.action)
        if what == REPORT:
            accused = self.model.voters.get(accused_in(call), "nobody")
            if accused not in self._forgetful:
                self._report("accused", f"{name} at {place}: {accused}")
        elif what != RENEWAL:
            self._report("invented", f"{name} at {place}: no client asked for it")

    def _reads_model(self, op: Operation) -> bool:
        """Whether the value is the model's, at the end of the block that was just applied."""
        kind, _, rest = bytes.fromhex(op.key).partition(b"/")
        value = None if op.value is None else bytes.fromhex(op.value)
        if kind == b"patient":
            count = len(self.model.logs.get(rest, ()))
            return (LogRoot.decode(value).count if value is not None else 0) == count
        grant = self.model.grants.get(rest)
        if grant is None or value is None:
            return grant is None and value is None
        found = Permission.decode(value)
        return (found.reader, found.patient, found.expires) == (
            grant.reader,
            grant.patient,
            grant.expires,
        )

    # -- along the history --------------------------------------------------------------------

    def _acknowledged(self) -> None:
        claimed: Counter[Position] = Counter()
        for op in self._history:
            if not op.id or op.outcome == UNKNOWN:
                continue
            assert op.height is not None
            assert op.index is not None
            place = (op.height, op.index)
            claimed[place] += 1
            if claimed[place] == 2:
                self._report("doubled", f"{_name(op)}: position {place} was given to another")
            if self.positions.get(op.id) != place:
                where = self.positions.get(op.id)
                self._report("lost", f"{_name(op)} acknowledged at {place}, the chain: {where}")

    def _real_time(self) -> None:
        """Sweeps invocations by time, with the highest position completed before each."""
        placed = [(op, place) for op in self._history if (place := self._place(op)) is not None]
        invoked = sorted(placed, key=lambda item: item[0].invoked_ns)
        ended = [item for item in placed if item[0].completed_ns is not None]
        ended.sort(key=lambda item: item[0].completed_ns or 0)
        highest: Position = (0, 0)
        last, done = "", 0
        for op, place in invoked:
            while done < len(ended) and (ended[done][0].completed_ns or 0) < op.invoked_ns:
                if ended[done][1] > highest:
                    highest, last = ended[done][1], _name(ended[done][0])
                done += 1
            if op.kind != "fresh" and place <= highest:
                self._report(
                    "real-time", f"{_name(op)} at {place} was invoked after {last} at {highest}"
                )

    def _place(self, op: Operation) -> Position | None:
        """Where it took effect: known to the chain also where its client got no answer."""
        if op.kind == "fresh":
            return None if op.height is None else (op.height, AFTER_BLOCK)
        return self.positions.get(op.id)

    def _fresh(self, needed: int) -> None:
        """No read is below a height that ``needed`` servers had shown before it began."""
        shown: dict[str, int] = {}
        ended = [op for op in self._history if op.completed_ns is not None and op.height]
        ended.sort(key=lambda op: op.completed_ns or 0)
        reads = [op for op in self._history if op.kind == "fresh" and op.height is not None]
        done = 0
        for op in sorted(reads, key=lambda op: op.invoked_ns):
            while done < len(ended) and (ended[done].completed_ns or 0) < op.invoked_ns:
                earlier = ended[done]
                seen = earlier.observed or {earlier.server: earlier.height or 0}
                for server, height in seen.items():
                    shown[server] = max(shown.get(server, 0), height)
                done += 1
            heights = sorted(shown.values(), reverse=True)
            established = heights[needed - 1] if len(heights) >= needed else 0
            assert op.height is not None
            if op.height < established:
                self._report("stale", f"{_name(op)} read {op.height}, {established} was there")


def _name(op: Operation) -> str:
    return f"{op.kind} {op.number}"
