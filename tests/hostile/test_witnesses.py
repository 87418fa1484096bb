"""SAFE-1, LIGHT-3: two hospitals' servers are compared; a fork is kept, a stale one is named."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from ledger.light import witnesses
from ledger.light.bundles import encode_changes
from ledger.light.checkpoint import NoCheckpointHere, checkpoint_of
from ledger.light.trust import advance
from ledger.light.witnesses import Forked, WitnessRefused
from ledger.types.certificate import CertifiedHeader
from ledger.types.membership import VOTERS_KEY, Voters
from nodes.cli.light_work import compare_at, verify_file
from nodes.client.chain import ChainClient
from nodes.client.http import HttpClient
from nodes.client.witnesses import Witness
from tests.light.kit import Chain
from tests.vectors import fixed


def told() -> tuple[Chain, list[CertifiedHeader], CertifiedHeader]:
    """Three honest heights, the first of which changes the membership, and a fork of the last."""
    chain = Chain(4)
    chain.values[VOTERS_KEY] = Voters(2, fixed.membership(range(5)), chain.membership).encoded  # type: ignore[arg-type]
    headers = [chain.commit([0, 1, 2, 3, 4]), chain.commit()]
    fork = chain.certify(replace(chain.header(), state_root=fixed.named_hash("fork")))
    return chain, [*headers, chain.commit()], fork


@asynccontextmanager
async def serving(chain: Chain, headers: list[CertifiedHeader], who: int) -> AsyncIterator[Witness]:
    async def answer(request: web.Request) -> web.Response:
        path = request.path
        if path.startswith("/v1/state/"):
            body = chain.state_bundle(headers[-1], VOTERS_KEY).encode()
        elif path == "/v1/memberships":
            after = int(request.query["from"])
            late = [c for c in chain.changes if c.certified.header.height > after]
            body = encode_changes(tuple(late))
        else:
            name = path.rpartition("/")[2]
            body = headers[-1 if name == "latest" else int(name) - 1].encode()
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/{path:.+}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with HttpClient(f"http://127.0.0.1:{runner.addresses[0][1]}", None) as http:
        yield Witness(fixed.hospital(who), ChainClient(http))
    await runner.cleanup()


@pytest.mark.parametrize("printed", [True, False])
async def test_SAFE_1_a_fork_is_kept_and_verified(tmp_path: Path, printed: bool) -> None:
    chain, headers, fork = told()
    file, now = tmp_path / "fork.bin", fixed.TIME_MS + 4_000
    trusted = advance(chain.trusted, chain.changes, headers[1])
    text = checkpoint_of(trusted).text if printed else ""
    async with (
        serving(chain, headers, 0) as one,
        serving(chain, headers[:2], 1) as behind,
        serving(chain, [*headers[:2], fork], 2) as other,
    ):
        agreed = await compare_at(chain.genesis, [one, behind], text, file, now)
        assert agreed["height"] == 2
        with pytest.raises(Forked):
            await compare_at(chain.genesis, [one, other], text, file, now)
        found = verify_file(chain.genesis.encode(), file.read_bytes())
        assert (found["about"], found["height"]) == ("fork", 3)
        with pytest.raises(WitnessRefused) as caught:
            await compare_at(chain.genesis, [one, behind], text, file, now + 10**9)
        assert caught.value.error == "StaleAnswer"


def test_LIGHT_1_no_checkpoint_is_printed_where_nobody_could_start() -> None:
    """Of the genesis document there is no header; at a change the header's voters are others."""
    chain, headers, _ = told()
    at_change = advance(chain.trusted, chain.changes, headers[0])
    for trusted in (chain.trusted, at_change):
        with pytest.raises(NoCheckpointHere) as caught:
            checkpoint_of(trusted)
        assert caught.value.height == trusted.height
    after = advance(chain.trusted, chain.changes, headers[1])
    assert checkpoint_of(after).height == 2


def test_evidence_of_a_fork_is_told_from_other_files() -> None:
    chain, headers, fork = told()
    both = [witnesses.Testimony(fixed.hospital(0), (), header) for header in (headers[-1], fork)]
    assert witnesses.is_fork(witnesses.encode_fork(chain.genesis.chain_id, *both))
    assert not witnesses.is_fork(chain.genesis.encode())
    assert not witnesses.is_fork(chain.trusted.encode())
