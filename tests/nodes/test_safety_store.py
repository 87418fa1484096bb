"""The safety store: what was promised stays promised, whatever happens to process and disk."""

import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import TooLarge
from ledger.primitives import Hash32, Height, View
from nodes.ports import SafetyStore, Vote
from nodes.storage import safety_store
from nodes.storage.safety_store import (
    EquivocationRefused,
    FileSafetyStore,
    MemorySafetyStore,
    SafetyStoreDamaged,
    SafetyStoreMissing,
    SafetyStoreUnusable,
    open_to_vote,
)

KINDS = ("sign-pre-prepare", "sign-prepare", "sign-commit", "sign-view-change")


def vote(
    height: int = 5, view: int = 2, digest: int = 1, kind: int = 1, payload: bytes = b"body"
) -> Vote:
    return Vote(KINDS[kind], Height(height), View(view), Hash32(bytes([digest]) * 32), payload)


def new_file(path: Path) -> FileSafetyStore:
    FileSafetyStore.create(path)
    return FileSafetyStore(path)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SafetyStore:
    return MemorySafetyStore() if request.param == "memory" else new_file(tmp_path / "safety.log")


def test_votes_are_kept_in_their_order(store: SafetyStore) -> None:
    assert (store.votes(), store.highest_view) == ((), 0)
    first = [vote(kind=0), vote(kind=1)]
    store.append(first)
    store.append([vote(kind=2), vote(view=3, kind=3)])
    assert list(store.votes()) == [*first, vote(kind=2), vote(view=3, kind=3)]
    assert store.highest_view == 3


def test_A2_settled_heights_are_known_and_kept_over_a_restart(tmp_path: Path) -> None:
    for store in (MemorySafetyStore(), new_file(tmp_path / "safety.log")):
        assert store.highest_height == 0
        store.append([vote()])
        assert store.highest_height == 5
        store.settle(Height(5))
        assert list(store.votes()) == [vote()]
        store.settle(Height(9))
        assert (store.highest_height, list(store.votes())) == (9, [])
        with pytest.raises(EquivocationRefused):
            store.append([vote(digest=9)])
    store.close()
    assert FileSafetyStore(tmp_path / "safety.log").highest_height == 9


def test_A2_another_digest_is_refused(store: SafetyStore) -> None:
    store.append([vote()])
    with pytest.raises(EquivocationRefused) as caught:
        store.append([vote(digest=9)])
    assert (caught.value.height, caught.value.view) == (5, 2)
    assert store.votes() == (vote(),)


def test_the_same_digest_again_is_nothing_new(store: SafetyStore) -> None:
    store.append([vote()])
    store.append([vote(), vote(payload=b"another proof of the same")])
    assert store.votes() == (vote(),)


@pytest.mark.parametrize("kind", range(4))
def test_I10_no_step_back_behind_a_view(store: SafetyStore, kind: int) -> None:
    store.append([vote(view=4, kind=3)])
    with pytest.raises(EquivocationRefused):
        store.append([vote(view=3, kind=kind)])
    store.append([vote(view=4, kind=1), vote(height=6, view=1), vote(view=5, kind=3)])
    assert len(store.votes()) == 4


def test_a_vote_recorded_before_the_view_rose_may_be_repeated(store: SafetyStore) -> None:
    store.append([vote(view=2)])
    store.append([vote(view=3, kind=3)])
    store.append([vote(view=2)])
    with pytest.raises(EquivocationRefused):
        store.append([vote(view=2, digest=7)])


def test_a_batch_is_recorded_whole_or_not_at_all(store: SafetyStore) -> None:
    for batch in (
        [vote(), vote(digest=2)],
        [vote(view=3), vote(view=2)],
        [vote(height=9), vote(), vote(digest=3)],
    ):
        with pytest.raises(EquivocationRefused):
            store.append(batch)
    assert store.votes() == ()


def test_pruned_heights_stay_settled(store: SafetyStore) -> None:
    store.append([vote(height=4, view=7), vote(height=5), vote(height=6)])
    store.prune(Height(6))
    assert store.votes() == (vote(height=6),)
    assert store.highest_view == 7
    for height in (4, 5):
        with pytest.raises(EquivocationRefused):
            store.append([vote(height=height, view=9)])
    store.prune(Height(2))
    with pytest.raises(EquivocationRefused):
        store.append([vote(height=5, view=9)])


VOTES = st.builds(
    vote,
    height=st.integers(1, 4),
    view=st.integers(0, 3),
    digest=st.integers(0, 2),
    kind=st.integers(0, 3),
    payload=st.binary(max_size=20),
)


@given(st.lists(st.lists(VOTES, max_size=4) | st.integers(1, 4), max_size=12))
@settings(max_examples=30, deadline=None)
def test_A2_a_restarted_file_store_refuses_what_the_memory_store_refuses(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[Vote] | int]
) -> None:
    path = tmp_path_factory.mktemp("safety") / "safety.log"
    FileSafetyStore.create(path)
    twin = MemorySafetyStore()
    below = Height(0)
    for step in steps:
        reopened = FileSafetyStore(path)
        reopened.prune(below)  # as a node does at each start, from its ledger's height
        if isinstance(step, int):
            below = Height(max(step, below))
            twin.prune(below)
            reopened.prune(below)
        else:
            outcomes = []
            for each in (twin, reopened):
                try:
                    each.append(step)
                except EquivocationRefused as refusal:
                    outcomes.append(refusal.field_values())
                else:
                    outcomes.append({})
            assert outcomes[0] == outcomes[1]
        assert reopened.votes() == twin.votes()
        assert reopened.highest_view == twin.highest_view
        reopened.close()


def test_A5_every_torn_tail_gives_the_votes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    ends = []
    for height in range(1, 4):
        store.append([vote(height=height), vote(height=height, kind=2)])
        ends.append(path.stat().st_size)
    store.close()
    data = path.read_bytes()
    for size in range(ends[1], len(data)):
        path.write_bytes(data[:size])
        cut = FileSafetyStore(path)
        assert len(cut.votes()) == 4
        assert path.stat().st_size == ends[1]
        cut.append([vote(height=9)])
        cut.close()
        again = FileSafetyStore(path)
        assert again.votes()[-1] == vote(height=9)
        again.close()


@pytest.mark.parametrize("tail", [b"\x00" * 5000, b"\xff" * 10, b"\xf5VOT" * 40, b"VOT\xf5VOT"])
def test_A5_a_tail_of_junk_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    store.append([vote()])
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    again = FileSafetyStore(path)
    assert again.votes() == (vote(),)
    assert path.read_bytes() == whole
    again.close()


def test_A5_any_flipped_bit_before_the_last_record_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    for height in range(1, 4):
        store.append([vote(height=height)])
    last = path.stat().st_size
    store.append([vote(height=4)])
    store.close()
    data = path.read_bytes()
    for offset in range(last):
        damaged = bytearray(data)
        damaged[offset] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(SafetyStoreDamaged):
            FileSafetyStore(path)
        assert path.read_bytes() == bytes(damaged)


@pytest.mark.parametrize(
    "change",
    [
        lambda records: [records[0], *records[2:]],
        lambda records: [*records[:2], *records[3:]],
        lambda records: [records[0], records[2], records[1], *records[3:]],
        lambda records: [records[0], records[1], records[1], *records[2:]],
        lambda records: [records[0], records[3]],
        lambda records: [b"", *records[1:]],
        lambda records: [records[0][:8], *records[1:]],
    ],
)
def test_A5_records_cannot_be_left_out_or_moved(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    ends = [path.stat().st_size]
    for height in range(1, 4):
        store.append([vote(height=height)])
        ends.append(path.stat().st_size)
    store.close()
    data = path.read_bytes()
    records = [data[: ends[0]]]
    records += [data[a:b] for a, b in itertools.pairwise(ends)]
    path.write_bytes(b"".join(change(records)))
    with pytest.raises(SafetyStoreDamaged):
        FileSafetyStore(path)


def test_A5_a_record_inside_a_payload_is_no_record(tmp_path: Path) -> None:
    # Blocks hold what others wrote: a copy of another store's records must not pass for ours.
    other = new_file(tmp_path / "other.log")
    other.append([vote()])
    inner = (tmp_path / "other.log").read_bytes()[20:]
    path = tmp_path / "safety.log"
    store = new_file(path)
    store.append([vote(height=1)])
    kept = path.stat().st_size
    store.append([vote(height=2, payload=inner * 3)])
    store.close()
    path.write_bytes(path.read_bytes()[:-1])
    again = FileSafetyStore(path)
    assert (again.votes(), path.stat().st_size) == ((vote(height=1),), kept)
    again.close()


def test_A2_a_missing_store_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(SafetyStoreMissing):
        FileSafetyStore(tmp_path / "safety.log")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_never_replaced(tmp_path: Path) -> None:
    new_file(tmp_path / "safety.log").append([vote()])
    with pytest.raises(SafetyStoreUnusable):
        FileSafetyStore.create(tmp_path / "safety.log")
    assert FileSafetyStore(tmp_path / "safety.log").votes() == (vote(),)


def test_K1_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "safety.log"
    new_file(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(SafetyStoreUnusable) as caught:
        FileSafetyStore(path)
    assert "0640" in caught.value.reason


def test_a_large_file_is_made_anew_without_what_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    body = bytes(1_500_000)
    for height in range(1, 4):
        store.append([vote(height=height, view=height, payload=body)])
    store.prune(Height(1))
    small = [vote(height=3, view=3, kind=2), vote(height=3, view=3, kind=3)]
    store.append(small)
    store.prune(Height(3))
    kept = [vote(height=3, view=3, payload=body), *small]
    assert path.stat().st_size < 2_000_000
    store.append([vote(height=4, view=9)])
    store.close()
    again = FileSafetyStore(path)
    assert list(again.votes()) == [*kept, vote(height=4, view=9)]
    with pytest.raises(EquivocationRefused):
        again.append([vote(height=2, view=9)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_remade_file_remembers_floor_and_view_without_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safety_store, "REWRITE_BYTES", 0)
    path = tmp_path / "safety.log"
    store = new_file(path)
    store.append([vote(height=7, view=6)])
    store.prune(Height(8))
    store.close()
    again = FileSafetyStore(path)
    assert (again.votes(), again.highest_view) == ((), 6)
    with pytest.raises(EquivocationRefused):
        again.append([vote(height=7, view=7)])


def test_a_failed_write_poisons_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    store.append([vote()])

    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(SafetyStoreUnusable) as caught:
            store.append([vote(kind=2)])
    assert "Input/output error" in str(caught.value)
    # The disk works again; whether the vote is on it is unknown, so nothing more is promised.
    for call in (lambda: store.append([vote(kind=2)]), lambda: store.prune(Height(9))):
        with pytest.raises(SafetyStoreUnusable):
            call()


def test_an_append_is_synced_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    sizes: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(
        os, "fdatasync", lambda file: (real(file), sizes.append(os.fstat(file).st_size))
    )
    store.append([vote()])
    assert sizes == [path.stat().st_size]
    store.append([vote()])
    assert len(sizes) == 1


def test_too_large_a_record_is_refused_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "safety.log"
    store = new_file(path)
    size = path.stat().st_size
    with pytest.raises(TooLarge):
        store.append([vote(payload=bytes(safety_store.RECORD_BYTES_MAX))])
    assert path.stat().st_size == size
    store.append([vote()])
    assert store.votes() == (vote(),)


def test_SAFE_3_a_promise_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.nodes.test_safety_store import new_file, vote\n"
        "store = new_file(Path(sys.argv[1]))\n"
        "for height in range(1, 21): store.append([vote(height=height)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "safety.log"
    root = Path(__file__).resolve().parent.parent.parent
    run = subprocess.run([sys.executable, "-c", program, str(path)], check=False, cwd=root)
    assert run.returncode == -9
    assert [v.height for v in FileSafetyStore(path).votes()] == list(range(1, 21))


class _Trace:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def emit(self, event: str, /, **fields: int | str) -> None:
        self.events.append((event, fields["reason"]))


def wipe(path: Path) -> None:
    path.unlink()


def rot(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def leave(path: Path) -> None:
    del path


@pytest.mark.parametrize(
    ("happens", "height", "reason"),
    [
        (leave, 7, None),
        (leave, 8, "SafetyStoreStale"),
        (wipe, 0, "SafetyStoreMissing"),
        (rot, 7, "SafetyStoreDamaged"),
    ],
)
def test_A2_who_cannot_know_what_it_signed_only_observes(
    tmp_path: Path, happens: Callable[[Path], None], height: int, reason: str | None
) -> None:
    path, trace = tmp_path / "safety.log", _Trace()
    store = new_file(path)
    store.append([vote(height=6)])
    store.append([vote(height=7)])
    store.close()
    happens(path)
    opened = open_to_vote(path, Height(height), trace)
    assert (opened is None) == (reason is not None)
    assert trace.events == ([] if reason is None else [("observing_only", reason)])
