"""What one seed draws before anything runs: the size, the weather, the liars, the clocks."""

from dataclasses import asdict, dataclass
from functools import cached_property
from random import Random

from tests.simulation.oracle import faults_tolerated

SIZES = (4, 5, 6, 7, 10)
PROFILES = ("all", "network", "crashes", "byzantine")
BEHAVIOURS = (
    "equivocate",
    "forge blocks",
    "forge certificate",
    "forge new view",
    "forge prepared",
    "false status",
    "heights rise and fall",
    "huge views",
    "invalid transactions",
    "lie in view change",
    "old certificates",
    "old view changes",
    "others' votes",
    "partial catch-up",
    "prepare own proposal",
    "propose out of turn",
    "repeat view changes",
    "replay",
    "send to some",
    "slow primary",
    "spam",
    "strip new view",
    "twin",
    "vote ahead",
    "vote twice",
    "withhold",
    "wrong parent",
    "wrong roots",
    "wrong times",
)
REAL_SIGNATURES_EVERY = 16


@dataclass(frozen=True)
class Options:
    """Everything about a run that is not decided while it runs; probabilities are per mille."""

    seed: int
    profile: str
    n: int
    rotation: int
    timeout_ms: int
    empty_ms: int
    steps: int
    delay_ms: int
    loss: int
    reorder: int
    duplicate: int
    replay: int
    corrupt: int
    truncate: int
    skews_ms: tuple[int, ...]
    drifts: tuple[int, ...]
    """By how many per mille each node's timers run fast."""
    liars: tuple[tuple[int, tuple[str, ...]], ...]
    losers: tuple[int, ...]
    """Members whose disks may lose what was synced; with the liars at most f."""
    crashes: bool
    partitions: bool
    rewrite_bytes: int
    """Size at which the safety file is made anew."""
    real_signatures: bool
    governs: bool
    """Whether hospitals get and lose the vote, and renew lost keys."""
    snapshots: int = 0
    """Snapshots are kept at the heights that this divides, and fetched by nodes without a block;
    0: these execute all blocks."""

    def __str__(self) -> str:
        said = {name: value for name, value in asdict(self).items() if name != "snapshots" or value}
        return " ".join(f"{name}={value!r}".replace(" ", "") for name, value in said.items())

    @cached_property
    def byzantine(self) -> frozenset[int]:
        """Places of the members that lie."""
        return frozenset(index for index, _ in self.liars)


def draw(seed: int, profile: str = "all") -> Options:
    """The options of a seed; ``profile`` leaves kinds of fault out."""
    random = Random(f"yilian {profile} {seed}")  # a text seeds alike everywhere
    weather, crashes = profile in ("all", "network"), profile in ("all", "crashes")
    n = random.choice(SIZES)
    rough = weather and random.random() < 0.8
    rates = {
        name: random.choice((0, highest // 4, highest)) if rough else 0
        for name, highest in (
            ("loss", 200), ("reorder", 300), ("duplicate", 150), ("replay", 60), ("corrupt", 40),
            ("truncate", 40),
        )
    }  # fmt: skip
    liars = _liars(random, n) if profile in ("all", "byzantine") else ()
    losers = _losers(random, n, liars) if crashes else ()
    return Options(
        seed=seed,
        profile=profile,
        n=n,
        rotation=random.choice((1, 2, 3, 10, 1_000)),
        timeout_ms=random.choice((300, 600, 1_000, 2_000)),
        empty_ms=random.choice((2_000, 10_000, 60_000)),
        steps=random.randint(8, 20),
        delay_ms=random.choice((2, 10, 60)),
        **rates,
        skews_ms=tuple(random.randint(-2_000, 2_000) for _ in range(n)),
        drifts=tuple(random.choice((0, 0, -5, 5)) for _ in range(n)),
        liars=liars,
        losers=losers,
        crashes=crashes and random.random() < 0.8,
        partitions=profile != "crashes" and random.random() < 0.7,
        rewrite_bytes=random.choice((1_024, 4_096, 4 * 1024 * 1024)),
        real_signatures=seed % REAL_SIGNATURES_EVERY == 0,
        governs=random.random() < 0.5,
        snapshots=random.choice((0, 1, 2, 4)) if losers else 0,
    )


def _losers(
    random: Random, n: int, liars: tuple[tuple[int, tuple[str, ...]], ...]
) -> tuple[int, ...]:
    """Some members that do not lie."""
    others = [index for index in range(n) if index not in dict(liars)]
    count = random.choice((0, 1, 1)) * (faults_tolerated(n) - len(liars))
    return tuple(sorted(random.sample(others, count)))


def _liars(random: Random, n: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Up to f members, with one to three behaviours each."""
    count = random.randint(0, faults_tolerated(n))
    return tuple(
        (index, tuple(sorted(random.sample(BEHAVIOURS, random.randint(1, 3)))))
        for index in sorted(random.sample(range(n), count))
    )
