"""The rule of dependency: every module has a rank and imports only lower ranks."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from tests.project.tree import ROOT, SHIPPED, Module, imports, modules

RANKS: tuple[tuple[str, ...], ...] = (
    # ledger: what everything rests on
    ("ledger.errors", "ledger.limits", "ledger.quorum"),
    ("ledger.primitives",),
    ("ledger.codec", "ledger.crypto.hashing"),
    ("ledger.crypto.keys", "ledger.merkle.log_tree", "ledger.types.terms"),
    ("ledger.crypto.sealing", "ledger.merkle.proof"),
    # ledger: wire types
    ("ledger.types.block", "ledger.types.entries"),
    ("ledger.types.membership", "ledger.types.transaction", "ledger.commitment"),
    ("ledger.types.certificate", "ledger.types.genesis"),
    ("ledger.types.evidence", "ledger.types.governance", "ledger.types.residents"),
    # ledger: verifying. Stands below execution and consensus, so that it can never load them.
    ("ledger.light.bundles", "ledger.light.view_rules"),
    ("ledger.light.trust",),
    ("ledger.light.checkpoint", "ledger.light.verify", "ledger.light.witnesses"),
    ("ledger.light.consent", "ledger.light.permissions", "ledger.light.records"),
    ("ledger.light.saved",),
    ("ledger.catchup",),
    # ledger: agreement, which knows no execution
    ("ledger.consensus.messages",),
    (
        "ledger.consensus.double_votes",
        "ledger.consensus.events",
        "ledger.consensus.view_change",
        "ledger.consensus.votes",
    ),
    ("ledger.consensus.effects",),
    ("ledger.consensus.phases",),
    ("ledger.consensus.pace",),
    ("ledger.consensus.replica",),
    # ledger: execution, which knows no engine
    ("ledger.contract_api", "ledger.mempool"),
    ("ledger.merkle.state_tree",),
    ("ledger.state", "ledger.snapshot.messages"),
    ("ledger.snapshot.check",),
    ("ledger.snapshot.offers", "ledger.snapshot.plan"),
    ("ledger.execution",),
    # contracts
    ("contracts.authority",),
    ("contracts.lookup",),
    ("contracts.actions",),
    ("contracts.consent", "contracts.copies"),
    (
        "contracts.access",
        "contracts.evidence",
        "contracts.governance",
        "contracts.index",
        "contracts.release",
    ),
    ("contracts.audit", "contracts.members", "contracts.sharing"),
    ("contracts.registry",),
    # nodes, by package; the modules of one package may use each other, without a cycle
    ("nodes.ports", "nodes.token_bucket", "nodes.view_rules"),
    ("nodes.frames", "nodes.observability"),
    ("nodes.quotas",),
    ("nodes.storage",),
    ("nodes.signer",),
    ("nodes.transport",),
    ("nodes.config",),
    ("nodes.voting",),
    ("nodes.chain",),
    ("nodes.evidence",),
    ("nodes.driver", "nodes.state_sync"),
    ("nodes.api", "nodes.client"),
    ("nodes.gateway", "nodes.vendor", "nodes.resident"),
    ("nodes.runtime", "nodes.sync_runtime", "nodes.network_setup", "nodes.renewal"),
    ("nodes.validator", "nodes.local_network"),
    ("nodes.cli",),
)
"""Lowest rank first. An entry is a module, or a package for all that is in it."""

RANK_OF = {name: rank for rank, names in enumerate(RANKS) for name in names}


def entry_of(name: str) -> str | None:
    """The entry of the rank table that a module falls under: itself or the nearest package."""
    while name:
        if name in RANK_OF:
            return name
        name = name.rpartition(".")[0]
    return None


def is_package(module: Module) -> bool:
    return module.path.name == "__init__.py"


def ours(module: Module) -> Iterator[tuple[str, str]]:
    """(place, target) of each import of a shipped module or of tests and scripts."""
    for node, target in imports(module):
        if target.split(".")[0] in {*SHIPPED, "tests", "scripts"}:
            yield module.at(node), target


def violations(module: Module) -> list[str]:
    """What this module imports against its rank."""
    own = entry_of(module.name)
    if own is None:
        return [f"{module.name} has no rank: give it a place in RANKS on purpose"]
    found = []
    for place, target in ours(module):
        entry = entry_of(target)
        if entry is None:
            found.append(f"{place}: {target} has no rank")
        elif entry != own and RANK_OF[entry] >= RANK_OF[own]:
            found.append(f"{place}: {module.name} must not import {target}: not of a lower rank")
    return found


@pytest.mark.parametrize("name", sorted(modules(*SHIPPED)))
def test_imports_only_lower_ranks(name: str) -> None:
    module = modules(*SHIPPED)[name]
    if is_package(module):
        # A package that re-exports would load more than was asked for.
        assert list(ours(module)) == []
    else:
        assert violations(module) == []


def test_every_rank_is_of_something_that_exists() -> None:
    assert [name for name in RANK_OF if name not in modules(*SHIPPED)] == []


def test_imports_are_absolute_and_of_shipped_code() -> None:
    found = [
        f"{module.at(node)}: {target}"
        for module in modules(*SHIPPED).values()
        for node, target in imports(module)
        if target.startswith(".") or target.split(".")[0] in {"tests", "scripts"}
    ]
    assert found == []


@cache
def reach(name: str) -> frozenset[str]:
    """All shipped modules that loading `name` loads, itself not counted unless in a cycle."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = modules(*SHIPPED).get(waiting.pop())
        targets = {target for _, target in ours(module)} if module else set()
        waiting += targets - seen
        seen |= targets
    return frozenset(seen)


def test_no_cycles() -> None:
    assert [name for name in modules(*SHIPPED) if name in reach(name)] == []


def test_execution_contracts_and_gateway_do_not_know_the_engine() -> None:
    names = ["ledger.execution", "ledger.state", *modules("contracts")]
    names += [name for name in modules("nodes") if name.startswith("nodes.gateway.")]
    for name in names:
        assert {item for item in reach(name) if item.startswith("ledger.consensus")} == set()


def test_light_client_loads_nothing_that_it_does_not_verify_with() -> None:
    light = [name for name in modules("ledger") if name.startswith("ledger.light")]
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "print(*sorted(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = result.stdout.split()
    assert "ledger.light.verify" in loaded
    heavy = ("nodes", "contracts", "ledger.consensus", "ledger.state", "ledger.execution")
    assert [name for name in loaded if name.startswith(heavy)] == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from ledger.execution import apply_block", "must not import ledger.execution"),
        ("def f():\n    import nodes.driver", "must not import nodes.driver"),
        ("from ledger import surprise", "ledger has no rank"),
        ("from contracts.registry import TABLE", "must not import contracts.registry"),
    ],
)
def test_the_rule_notices(source: str, complaint: str) -> None:
    real = modules(*SHIPPED)["ledger.codec"]
    forged = Module(real.name, real.path, source, ast.parse(source))
    assert any(complaint in text for text in violations(forged))
