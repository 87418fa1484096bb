"""Measures one network of real processes on this machine; prints JSON. No test asserts a time.

What is measured, and how: docs/performance.md. Transactions are signed before the clock starts.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ledger.codec import Value
from ledger.light.bundles import decode_bundle
from ledger.light.trust import advance, trust_genesis
from ledger.light.verify import log_under
from ledger.primitives import Height, Nonce, PatientKey
from ledger.types.entries import patient_log
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.client.chain import ChainClient
from nodes.client.http import ServerBusy
from nodes.config import user_key_name
from nodes.local_network import LocalNetwork
from nodes.network_setup import create_network, numbered_plan
from nodes.signer.key_files import FileSigner

PATIENTS = 2_000
SEALED_BYTES = 156
"""Length of the sealed metadata of nearly every record: 128 padded bytes, nonce and tag."""
BODY_BYTES_MAX = 240 * 1024
WAIT_MS = 20_000


def _clock_ticks(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Bench:
    """One network and its clients, one for each validator."""

    network: LocalNetwork
    clients: list[ChainClient]
    signers: list[FileSigner]
    sequence: int = 0

    def patient(self, number: int) -> PatientKey:
        """Patient key of a number."""
        return PatientKey(sha256(f"bench {number}".encode()).digest())

    async def height(self) -> int:
        """Newest height of the first validator."""
        return int(str((await self.clients[0].status())["height"]))

    def registration(self, rows: int, height: int) -> SignedTransaction:
        """A signed transaction with that many rows of random patients."""
        self.sequence += 1
        signer = self.signers[self.sequence % len(self.signers)]
        args: Sequence[Value] = (
            1,
            tuple(
                (
                    self.patient(random.randrange(PATIENTS)),
                    os.urandom(32),
                    os.urandom(SEALED_BYTES),
                )
                for _ in range(rows)
            ),
        )
        body = Transaction(
            self.network.genesis.chain_id,
            "index",
            "register",
            tuple(args),
            signer.public_key.key_id,
            Nonce(os.urandom(16)),
            Height(height + 900),
        )
        return sign_transaction(body, signer)

    def pids(self) -> list[int]:
        """Validators' process ids."""
        return [self.network.pid(h.id, "node") for h in self.network.hospitals]

    async def throughput(self, rows: int, count: int) -> dict[str, float]:
        """Commits ``count`` transactions of ``rows`` rows as fast as the network takes them."""
        height = await self.height()
        signed = [self.registration(rows, height) for _ in range(count)]
        per_post = max(1, min(500, BODY_BYTES_MAX // (len(signed[0].encoded) + 5)))
        cpu = sum(_clock_ticks(pid) for pid in self.pids())
        own = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        shares = [signed[i :: len(self.clients)] for i in range(len(self.clients))]
        await asyncio.gather(
            *[self._post(c, s, per_post) for c, s in zip(self.clients, shares, strict=True)]
        )
        seconds = time.perf_counter() - start
        spent = sum(_clock_ticks(pid) for pid in self.pids()) - cpu
        after = resource.getrusage(resource.RUSAGE_SELF)
        client = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
        blocks = await self.height() - height
        for transaction in random.sample(signed, min(count, 200)):
            await self.check(random.choice(self.clients), transaction)
        return {
            "transactions": count,
            "rows": rows * count,
            "seconds": round(seconds, 2),
            "transactions_per_s": round(count / seconds, 1),
            "rows_per_s": round(rows * count / seconds, 1),
            "blocks": blocks,
            "cpu_us_per_transaction_and_node": round(spent / count / len(self.clients) * 1e6, 1),
            "load_generator_cpu_share": round(client / seconds / (os.cpu_count() or 1), 3),
        }

    async def _post(
        self, client: ChainClient, signed: Sequence[SignedTransaction], per_post: int
    ) -> None:
        """Submits in bodies, waiting where the node says it is full, until all are committed."""
        for first in range(0, len(signed), per_post):
            part = list(signed[first : first + per_post])
            while part:
                try:
                    results = await client.submit([t.encoded for t in part])
                except ServerBusy:
                    await asyncio.sleep(0.05)
                    continue
                part = [t for t, r in zip(part, results, strict=True) if not r.accepted]
                if part:
                    await asyncio.sleep(0.05)
        # One member's transactions leave the mempool in order, so the last one ends the wait.
        await self.check(client, signed[-1])

    async def check(self, client: ChainClient, transaction: SignedTransaction) -> None:
        """Waits until it is committed with success."""
        state = await client.transaction(transaction.id, WAIT_MS)
        if state.status != "committed" or state.receipt is None or not state.receipt.ok:
            raise SystemExit(f"a transaction ended as {state.status}")

    async def latency(self, per_second: int, seconds: int) -> dict[str, float]:
        """Open loop: scheduled time to "committed", so that a stall counts for all it delays."""
        height = await self.height()
        signed = [self.registration(1, height) for _ in range(per_second * seconds)]
        start = time.perf_counter() + 0.2

        async def one(number: int, transaction: SignedTransaction) -> float:
            scheduled = start + number / per_second
            await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            client = self.clients[number % len(self.clients)]
            await client.submit([transaction.encoded])
            await client.transaction(transaction.id, WAIT_MS)
            return (time.perf_counter() - scheduled) * 1000

        times = sorted(await asyncio.gather(*[one(i, t) for i, t in enumerate(signed)]))
        return {
            "transactions_per_s": per_second,
            "samples": len(times),
            "p50_ms": round(times[len(times) // 2], 2),
            "p99_ms": round(times[int(len(times) * 0.99)], 2),
            "max_ms": round(times[-1], 2),
        }

    async def proofs(self) -> dict[str, float]:
        """Size and verification time of a return visit and of a complete list."""
        genesis = self.network.genesis
        trusted = trust_genesis(genesis.encode(), None)
        header = await self.clients[0].newest_header()
        begin = time.perf_counter()
        for _ in range(20):
            advance(trusted, (), header)
        header_ms = (time.perf_counter() - begin) / 20 * 1000
        key = patient_log(self.patient(1))
        data = await self.clients[0].log(key)
        bundle = decode_bundle(data)
        times = []
        for _ in range(10):
            begin = time.perf_counter()
            decoded = decode_bundle(data)
            log_under(decoded.state.certified.header, decoded, key)  # type: ignore[union-attr]
            times.append((time.perf_counter() - begin) * 1000)
        return {
            "certified_header_bytes": len(header.encode()),
            "certified_header_verify_ms": round(header_ms, 3),
            "list_rows": len(bundle.entries),  # type: ignore[union-attr]
            "list_bytes": len(data),
            "list_verify_ms": round(statistics.median(times), 3),
        }


def _disk_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _openssl() -> str:
    """The day's `openssl speed ecdsap256`: the yardstick of this machine."""
    result = subprocess.run(
        ["openssl", "speed", "-seconds", "1", "ecdsap256"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if "nistp256" in line]
    return " ".join(lines[-1].split()) if lines else "openssl is not installed"


async def measure(directory: Path, options: argparse.Namespace) -> dict[str, object]:
    """Makes a network, measures, and stops it."""
    plan = numbered_plan(options.validators, vendors=0)
    create_network(directory, plan.model_copy(update={"min_free_bytes": 0}))
    network = LocalNetwork(directory)
    for hospital in network.hospitals:
        network.start(hospital.id, "node")
    try:
        await network.wait_ready()
        https = [network.node_client(h.id) for h in network.hospitals]
        signers = [
            FileSigner.load(directory / h.id / "keys" / user_key_name("gateway"))
            for h in network.hospitals
        ]
        bench = Bench(network, [ChainClient(http) for http in https], signers)
        await bench.throughput(1, 200)  # warm-up
        result: dict[str, object] = {"validators": options.validators, "cpus": os.cpu_count()}
        result["latency_low_load"] = await bench.latency(20, options.seconds)
        result["single"] = await bench.throughput(1, options.transactions)
        node_data = directory / network.hospitals[0].id / "node-data"
        before = _disk_bytes(node_data / "ledger")
        rows = await bench.throughput(100, options.batches)
        result["batches_of_100"] = rows
        result["proofs"] = await bench.proofs()
        result["resident_mb_max"] = [round(_resident_mb(pid), 1) for pid in bench.pids()]
        for http in https:
            await http.close()
    finally:
        network.stop_all()
    grown = _disk_bytes(node_data / "ledger") - before
    result["disk_bytes_per_row"] = round(grown / int(rows["rows"]), 1)
    result["safety_store_bytes"] = _disk_bytes(node_data) - _disk_bytes(node_data / "ledger")
    result["openssl_speed_p256"] = _openssl()
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--transactions", type=int, default=12_000, help="signed one by one")
    parser.add_argument("--batches", type=int, default=600, help="transactions of 100 rows")
    parser.add_argument("--seconds", type=int, default=15, help="of low load")
    parser.add_argument("--json", action="store_true", help="accepted for symmetry: always JSON")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="yilian-bench-"))
    try:
        result = asyncio.run(measure(directory / "network", options))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
