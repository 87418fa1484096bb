"""One decoder under a fuzzer, in a process of its own, since libFuzzer ends its process.

``python -m tests.fuzz.guided NAME SECONDS FOLDER``: with atheris guided by coverage, without it
by mutation alone. Standard error has a line ``stat::number_of_executed_units: N``; an input that
breaks a property lies in FOLDER as a file of its own.
"""

import sys
import time
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    atheris = None

if atheris is not None:
    with atheris.instrument_imports(include=["ledger", "contracts", "nodes"]):
        from tests.fuzz.decoders import DECODERS, Decoder
else:
    from tests.fuzz.decoders import DECODERS, Decoder

from tests.fuzz.mutation import mutated
from tests.fuzz.properties import check, check_memory

INPUT_BYTES_MAX = 64 * 1024
"""Longer inputs find nothing that shorter ones do not, and are slow."""
RSS_MIB_MAX = 1_024
HANG_SECONDS = 20
"""For one input: no measure, only the end of a hang."""
MEASURED_EVERY = 64
"""Measuring memory makes an execution several times slower."""


class _Target:
    """The function that the fuzzer calls."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.executions = 0

    def __call__(self, data: bytes) -> None:
        self.executions += 1
        if self.executions % MEASURED_EVERY == 0:
            check_memory(self._decoder, data)
        else:
            check(self._decoder, data)


def guided(decoder: Decoder, seconds: int, folder: Path) -> None:
    """Never returns: libFuzzer ends the process, with an exit code of its own for a finding."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(decoder.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    target = _Target(decoder)

    def mutate(data: bytes, size_max: int, number: int) -> bytes:
        # libFuzzer's own changes know what coverage found, ours know values inside of values.
        if number % 2:
            return bytes(atheris.Mutate(data, size_max))
        return mutated(Random(number), (data, *decoder.seeds))[:size_max]

    options = {
        "max_total_time": seconds,
        "max_len": INPUT_BYTES_MAX,
        "rss_limit_mb": RSS_MIB_MAX,
        "timeout": HANG_SECONDS,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *words, str(corpus)], target, custom_mutator=mutate)
    atheris.Fuzz()


def unguided(decoder: Decoder, seconds: int, folder: Path) -> None:
    """The same by mutation alone, where atheris cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    target, random, end = _Target(decoder), Random(decoder.name), time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(random, decoder.seeds)
        try:
            target(data)
        except BaseException:
            (folder / f"crash-{target.executions}").write_bytes(data)
            raise
    print(f"stat::number_of_executed_units: {target.executions}", file=sys.stderr)


def main() -> None:
    """Name of the decoder, seconds, folder for corpus and findings."""
    name, seconds, folder = sys.argv[1:]
    run = unguided if atheris is None else guided
    run(DECODERS[name], int(seconds), Path(folder))


if __name__ == "__main__":
    main()
