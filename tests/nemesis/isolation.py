"""Where a run happens: in namespaces of its own, which end with it, or on loopback addresses.

With namespaces, the run is process 1 of an own process, mount and network namespace: however it
ends, the kernel ends its validators and takes its links, addresses and mounts away. Nothing can
be left over, and no address leads out of it.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

MARK = "YILIAN_NEMESIS_ISOLATED"
FAKETIME = "libfaketimeMT.so.1"
DISK_BYTES = 1 << 30
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_TRIAL = "ip link set lo up && mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add trial"


def faketime_library() -> Path | None:
    """libfaketime, if it is installed."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"))
    return found[0] if found else None


def missing_packages() -> list[str]:
    """Debian packages without which some faults cannot be made."""
    missing = [] if shutil.which("ip") else ["iproute2"]
    return missing + ([] if faketime_library() else ["faketime"])


def enter(words: Sequence[str]) -> str:
    """Starts this program again inside own namespaces; returns there "", or here why it cannot."""
    if os.environ.get(MARK):
        return ""
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "ip or unshare is missing"
    as_user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    command = [*_UNSHARE, *as_user]
    trial = subprocess.run([*command, "sh", "-c", _TRIAL], capture_output=True, check=False)
    if trial.returncode:
        return trial.stderr.decode(errors="replace").strip().splitlines()[-1][:200]
    os.environ[MARK] = "1"
    module = [sys.executable, "-m", "tests.nemesis.main", *words]
    return _replaced_by(*command, *module)


def _replaced_by(*command: str) -> NoReturn:
    os.execvp(command[0], command)


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


class Namespaces:
    """One network namespace for each validator, joined by a bridge in the run's own one."""

    disks = True
    """Whether each validator's data can have a disk of a size of its own."""

    def __init__(self, count: int) -> None:
        self._count = count

    def node_host(self, number: int) -> str:
        """Where a validator listens."""
        return f"10.77.0.{10 + number}"

    def proxy_host(self, number: int) -> str:
        """Where everybody else reaches it."""
        return f"10.77.1.{10 + number}"

    def set_up(self) -> None:
        """Makes the bridge and all namespaces."""
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _run("mkdir", "/run/netns")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "hub0", "type", "bridge")
        _run("ip", "addr", "add", "10.77.0.1/16", "dev", "hub0")
        _run("ip", "link", "set", "hub0", "up")
        for number in range(self._count):
            name, link = f"node{number}", f"veth{number}"
            _run("ip", "addr", "add", f"{self.proxy_host(number)}/16", "dev", "hub0")
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "link", "set", link, "master", "hub0", "up")
            address = f"{self.node_host(number)}/16"
            _run("ip", "-n", name, "addr", "add", address, "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        """``words`` to be run in the validator's namespace, in place of nsenter's process."""
        return ["nsenter", f"--net=/run/netns/node{number}", "--", *words]

    def link(self, number: int, up: bool) -> None:
        """Takes the validator's only link down, or up."""
        _run("ip", "link", "set", f"veth{number}", "up" if up else "down")

    def source(self, peer: tuple[str, int]) -> int | None:
        """Number of the validator that a connection comes from."""
        known = {self.node_host(number): number for number in range(self._count)}
        return known.get(peer[0])

    def mount_disk(self, path: Path) -> None:
        """Gives a directory a disk of its own, with what was in it."""
        kept = path.with_name(f"{path.name}.kept")
        path.rename(kept)
        path.mkdir(mode=0o700)
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", path)
        for item in kept.iterdir():
            shutil.move(item, path / item.name)
        kept.rmdir()

    def fill_disk(self, path: Path, left_bytes: int) -> None:
        """Shrinks that disk until about so much is left; its owner may be writing meanwhile."""
        page = os.sysconf("SC_PAGE_SIZE")
        for more in (0, 1 << 16, 1 << 18, 1 << 20):
            used = shutil.disk_usage(path).used
            size = (used + left_bytes + more + page - 1) // page * page
            with suppress(subprocess.CalledProcessError):  # less than is used by now
                _run("mount", "-o", f"remount,size={size}", path)
                return
        raise OSError(f"{path}: the disk cannot be shrunk")

    def free_disk(self, path: Path) -> None:
        """Gives it its size back."""
        _run("mount", "-o", f"remount,size={DISK_BYTES}", path)


class Loopback:
    """Addresses of 127.0.0.0/8, where namespaces are not permitted: no link down, no full disk."""

    disks = False

    def __init__(self, count: int, pid_of: Callable[[int], int | None]) -> None:
        self._count = count
        self._pid_of = pid_of
        self._net = 1 + os.getpid() % 254

    def node_host(self, number: int) -> str:
        """Where a validator listens."""
        return f"127.{self._net}.0.{10 + number}"

    def proxy_host(self, number: int) -> str:
        """Where everybody else reaches it."""
        return f"127.{self._net}.1.{10 + number}"

    def set_up(self) -> None:
        """All of 127.0.0.0/8 is there already."""

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        """``words``, to be ended by the kernel when this process ends, however it does."""
        return ["setpriv", "--pdeathsig", "KILL", "--", *words]

    def source(self, peer: tuple[str, int]) -> int | None:
        """The validator whose process owns the other end: all come from the same address."""
        inode = _inode_of(peer)
        for number in range(self._count):
            pid = self._pid_of(number)
            if inode and pid and inode in _sockets(pid):
                return number
        return None


def _inode_of(address: tuple[str, int]) -> str:
    packed = socket.inet_aton(address[0])[::-1].hex().upper()
    wanted = f"{packed}:{address[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted:
            return fields[9]
    return ""


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for item in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(item)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return found  # it ended meanwhile
    return found
