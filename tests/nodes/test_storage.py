"""One suite for every Storage, and what LevelDB must notice (L1, L2, L4)."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import plyvel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.ports import Put, Storage
from nodes.storage.errors import (
    NotADatabase,
    StorageCorrupt,
    StorageLocked,
    StoragePoisoned,
    StorageUnavailable,
    StorageWriteFailed,
)
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.memory import MemoryStorage


@pytest.fixture(params=["memory", "leveldb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made: Storage = (
        MemoryStorage() if request.param == "memory" else LevelDbStorage(tmp_path / "ledger")
    )
    yield made
    made.close()


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write([Put(b"a", b"1"), Put(b"b", b""), Put(b"c", b"3")])
    assert [storage.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"", b"3", None]
    storage.write([Put(b"a", None), Put(b"b", b"2"), Put(b"d", None)])
    assert [storage.get(key) for key in (b"a", b"b", b"c", b"d")] == [None, b"2", b"3", None]


def test_the_last_of_several_puts_of_a_key_counts(storage: Storage) -> None:
    storage.write([Put(b"a", b"1"), Put(b"a", None), Put(b"a", b"2"), Put(b"b", b"1")])
    storage.write([Put(b"b", b"2"), Put(b"b", None)])
    assert (storage.get(b"a"), storage.get(b"b")) == (b"2", None)


def test_scan_is_ordered_and_keeps_to_its_prefix(storage: Storage) -> None:
    keys = [b"\x01\xff", b"\x01", b"\x01\x00", b"\x02", b"\x00\xff", b"\xff\xff", b"\xff"]
    storage.write([Put(key, key + b"!") for key in keys])
    assert [key for key, _ in storage.scan(b"\x01")] == [b"\x01", b"\x01\x00", b"\x01\xff"]
    assert [key for key, _ in storage.scan(b"\xff")] == [b"\xff", b"\xff\xff"]
    assert list(storage.scan(b"")) == [(key, key + b"!") for key in sorted(keys)]


def test_a_scan_does_not_see_later_writes(storage: Storage) -> None:
    storage.write([Put(b"a", b"1"), Put(b"b", b"1")])
    scan = storage.scan(b"")
    assert next(scan) == (b"a", b"1")
    storage.write([Put(b"b", b"2"), Put(b"c", b"2")])
    assert list(scan) == [(b"b", b"1")]


def test_a_closed_store_refuses(storage: Storage) -> None:
    storage.close()
    calls: list[Callable[[], object]] = [
        lambda: storage.get(b"a"),
        lambda: list(storage.scan(b"")),
        lambda: storage.write([Put(b"a", b"1")]),
    ]
    for call in calls:
        with pytest.raises(StoragePoisoned):
            call()


@given(
    st.lists(
        st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=40)), max_size=8),
        max_size=8,
    )
)
@settings(max_examples=20, deadline=None)
def test_leveldb_is_what_the_dict_is(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[bytes, bytes | None]]]
) -> None:
    path = tmp_path_factory.mktemp("db") / "ledger"
    twin = MemoryStorage()
    for batch in batches:
        # Opened anew for each batch: what counts is what is on disk.
        store = LevelDbStorage(path)
        puts = [Put(key, value) for key, value in batch]
        store.write(puts)
        twin.write(puts)
        store.close()
    store = LevelDbStorage(path)
    assert list(store.scan(b"")) == list(twin.scan(b""))
    store.close()


def filled(path: Path, keys: int = 50) -> None:
    store = LevelDbStorage(path)
    for i in range(keys):
        store.write([Put(b"key %03d" % i, b"value %03d " % i * 20)])
    store.close()


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def test_L2_a_flipped_bit_in_the_log_is_no_silent_loss(tmp_path: Path) -> None:
    filled(tmp_path / "ledger")
    log = next((tmp_path / "ledger").glob("*.log"))
    flip(log, log.stat().st_size // 2)
    with pytest.raises(StorageCorrupt) as caught:
        LevelDbStorage(tmp_path / "ledger")
    assert "ledger" in caught.value.path
    assert "peers" in str(caught.value)


def test_L2_a_flipped_bit_in_a_table_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    filled(path)
    LevelDbStorage(path).close()  # an opening moves the log into a table
    table = next(path.glob("*.ldb"))
    flip(table, table.stat().st_size // 3)

    def read_all() -> None:
        store = LevelDbStorage(path)
        try:
            list(store.scan(b""))
        finally:
            store.close()

    with pytest.raises(StorageCorrupt):
        read_all()


def test_L2_a_value_that_leveldb_believes_is_checked_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    filled(path, 2)
    raw = plyvel.DB(str(path))
    first, second = raw.get(b"key 000"), raw.get(b"key 001")
    raw.put(b"key 000", first[:-1] + bytes([first[-1] ^ 1]))
    raw.put(b"key 002", second)  # a whole value under another key
    raw.put(b"key 003", b"\x00")
    raw.close()
    store = LevelDbStorage(path)
    assert store.get(b"key 001") == b"value 001 " * 20
    for key in (b"key 000", b"key 002", b"key 003"):
        with pytest.raises(StorageCorrupt):
            store.get(key)
    with pytest.raises(StorageCorrupt):
        list(store.scan(b"key"))
    store.close()


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_torn_tail_loses_only_what_was_never_acknowledged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ledger"
    filled(path, 5)
    log = next(path.glob("*.log"))
    log.write_bytes(log.read_bytes()[:-cut])
    store = LevelDbStorage(path)
    assert [key for key, _ in store.scan(b"")] == [b"key %03d" % i for i in range(4)]
    store.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST*"])
def test_L4_a_missing_part_is_reported_and_nothing_is_repaired(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ledger"
    filled(path, 3)
    next(path.glob(name)).unlink()
    before = sorted(item.name for item in path.glob("*.log"))
    with pytest.raises(StorageCorrupt):
        LevelDbStorage(path)
    assert sorted(item.name for item in path.glob("*.log")) == before


def test_a_second_opening_is_refused(tmp_path: Path) -> None:
    store = LevelDbStorage(tmp_path / "ledger")
    with pytest.raises(StorageLocked):
        LevelDbStorage(tmp_path / "ledger")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from nodes.storage.errors import StorageLocked\n"
        "from nodes.storage.leveldb import LevelDbStorage\n"
        "try:\n    LevelDbStorage(Path(sys.argv[1]))\n"
        "except StorageLocked:\n    sys.exit(7)\n"
    )
    second = subprocess.run([sys.executable, "-c", program, str(tmp_path / "ledger")], check=False)
    assert second.returncode == 7
    store.close()


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADatabase):
        LevelDbStorage(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("x")
    with pytest.raises(NotADatabase):
        LevelDbStorage(tmp_path / "folder")
    assert os.listdir(tmp_path / "folder") == ["letter.txt"]


def test_a_place_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageUnavailable):
        LevelDbStorage(tmp_path / "file" / "ledger")


class FailingDb:
    """Fails as plyvel does when the disk is full."""

    def write_batch(self, **_options: bool) -> "FailingDb":
        return self

    def __enter__(self) -> "FailingDb":
        raise plyvel.IOError("/医院/000003.log: No space left on device".encode())

    def __exit__(self, *_: object) -> None:
        raise AssertionError("never entered")


def test_L1_a_failed_write_poisons_the_store(tmp_path: Path) -> None:
    store = LevelDbStorage(tmp_path / "ledger")
    store.write([Put(b"a", b"1")])
    real, store._db = store._db, FailingDb()
    with pytest.raises(StorageWriteFailed) as caught:
        store.write([Put(b"a", b"2")])
    assert caught.value.reason == "/医院/000003.log: No space left on device"
    store._db = real  # the disk recovers: the store must not
    for call in (lambda: store.write([Put(b"a", b"3")]), lambda: store.get(b"a")):
        with pytest.raises(StoragePoisoned):
            call()
    store.close()
    again = LevelDbStorage(tmp_path / "ledger")
    assert again.get(b"a") == b"1"
    again.close()


def test_SAFE_3_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nodes.ports import Put\n"
        "from nodes.storage.leveldb import LevelDbStorage\n"
        "store = LevelDbStorage(Path(sys.argv[1]))\n"
        "for i in range(20):\n"
        "    store.write([Put(b'%d/%d' % (i, k), b'x' * 1000) for k in range(5)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(tmp_path / "ledger")
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    store = LevelDbStorage(tmp_path / "ledger")
    assert len(list(store.scan(b""))) == 100
    store.close()


def test_the_directory_is_private(tmp_path: Path) -> None:
    LevelDbStorage(tmp_path / "data" / "ledger").close()
    assert (tmp_path / "data" / "ledger").stat().st_mode & 0o777 == 0o700
