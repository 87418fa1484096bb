"""``yilian``: one entry point. Each command parses arguments and makes one call.

Exit codes: 0 done; 1 refused, or something does not verify; 2 usage or configuration;
3 network, disk, or a fault of this program. Errors are one line on standard error.
"""

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated

import typer

from nodes.cli import governance, people
from nodes.cli.consent import consent_app
from nodes.cli.light import light_app
from nodes.cli.output import (
    BadArgument,
    print_fields,
    print_json,
    print_table,
    read_file,
    reported_errors,
    write_any_text,
)

app = typer.Typer(
    name="yilian",
    help="The ledger of a medical consortium: index, read and prove health records.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
network_app = typer.Typer(help="Make a network.", no_args_is_help=True, rich_markup_mode=None)
node_app = typer.Typer(help="Run a validator.", no_args_is_help=True, rich_markup_mode=None)
gateway_app = typer.Typer(help="Run a gateway.", no_args_is_help=True, rich_markup_mode=None)
genesis_app = typer.Typer(help="Genesis documents.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(network_app, name="network")
app.add_typer(node_app, name="node")
app.add_typer(gateway_app, name="gateway")
app.add_typer(genesis_app, name="genesis")
app.add_typer(light_app, name="light")
app.add_typer(consent_app, name="consent")
people.add_commands(app)
governance.add_commands(app)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@network_app.command("create")
def network_create(
    directory: Annotated[Path, typer.Argument(help="New or empty directory to fill.")],
    plan: Annotated[
        Path | None, typer.Option(help="TOML plan, such as network-configs/demo.toml.")
    ] = None,
    hospitals: Annotated[
        int | None, typer.Option(help="Number of hospitals, if there is no plan.", min=1, max=128)
    ] = None,
    json: Json = False,
) -> None:
    """Make keys, certificates, genesis and configuration.

    Starts nothing: each hospital runs its own node and its own gateway.
    """
    with reported_errors():
        from nodes.config import load_config
        from nodes.network_setup import NetworkPlan, create_network, numbered_plan

        if (plan is None) == (hospitals is None):
            raise BadArgument("--plan, --hospitals", "give exactly one of them")
        chosen = load_config(NetworkPlan, plan) if plan else numbered_plan(hospitals or 1)
        genesis = create_network(directory, chosen)
        made = {
            "directory": str(directory),
            "hospitals": [h.id for h in chosen.hospitals],
            "chain_id": genesis.chain_id.hex(),
        }
        if json:
            print_json(made)
            return
        print_fields(made | {"hospitals": ", ".join(h.id for h in chosen.hospitals)})
        typer.echo(
            "\nNext, for each hospital: `yilian node run DIR/HOSPITAL/node.toml` and\n"
            "`yilian gateway run DIR/HOSPITAL/gateway.toml`; then `yilian status DIR`."
        )


@network_app.command("join")
def network_join(
    directory: Annotated[Path, typer.Argument(help="New or empty directory to fill.")],
    genesis: Annotated[Path, typer.Option(help="Genesis document of the network.")],
    member: Annotated[str, typer.Option("--id", help="Id of your hospital, for ever.")],
    name: Annotated[str, typer.Option(help="Its name, as people call it.")],
    host: Annotated[str, typer.Option(help="Where others reach it.")] = "127.0.0.1",
    base_port: Annotated[
        int, typer.Option(help="Its ports are this +1, +2, +3; 0: any.", min=0, max=60_000)
    ] = 7_100,
    json: Json = False,
) -> None:
    """Make keys and configuration of a hospital that joins.

    Hand admission.bin, which holds public parts only, to a hospital of the network.
    """
    with reported_errors():
        from hashlib import sha256

        from ledger.types.genesis import GENESIS_BYTES_MAX
        from nodes.config import load_genesis
        from nodes.network_setup import ADMISSION_NAME, join_network, joining_plan

        plan = joining_plan(load_genesis(genesis), member, name, host, base_port)
        join_network(directory, read_file(genesis, GENESIS_BYTES_MAX, "--genesis"), plan)
        file = directory / ADMISSION_NAME
        made = {
            "directory": str(directory),
            "admission": str(file),
            "sha256": sha256(file.read_bytes()).hexdigest(),
        }
        if json:
            print_json(made)
            return
        print_fields(made)
        typer.echo(
            "\nNext: a hospital of the network runs `yilian governance propose-admission`, others\n"
            f"approve it; then `yilian node run {directory / member / 'node.toml'}`."
        )


@node_app.command("run")
def node_run(config: Annotated[Path, typer.Argument(help="node.toml")]) -> None:
    """Run a validator until Ctrl-C or SIGTERM.

    Logs JSON lines on standard error.
    """
    with reported_errors():
        from nodes.config import NodeConfig, load_config
        from nodes.observability.logs import LogSink
        from nodes.validator import run_until_stopped

        loaded = load_config(NodeConfig, config)
        trace = LogSink(loaded.log_level, member=loaded.member, service="node")
        _run_loop(run_until_stopped(loaded, trace))


@gateway_app.command("run")
def gateway_run(config: Annotated[Path, typer.Argument(help="gateway.toml")]) -> None:
    """Run a gateway until Ctrl-C or SIGTERM.

    Logs JSON lines on standard error.
    """
    with reported_errors():
        from nodes.config import GatewayConfig, load_config
        from nodes.gateway.service import run_until_stopped
        from nodes.observability.logs import LogSink

        loaded = load_config(GatewayConfig, config)
        trace = LogSink(loaded.log_level, member=loaded.member, service="gateway")
        _run_loop(run_until_stopped(loaded, trace))


@genesis_app.command("show")
def genesis_show(
    file: Annotated[Path, typer.Argument(help="genesis.bin")], json: Json = False
) -> None:
    """Show what a genesis document says: chain id, members, parameters."""
    with reported_errors():
        from nodes.config import load_genesis

        genesis = load_genesis(file)
        p = genesis.parameters
        fields: dict[str, object] = {
            "network": genesis.network,
            "chain_id": genesis.chain_id.hex(),
            "time_ms": genesis.time_ms,
            "validators": genesis.membership.n,
            "quorum": genesis.membership.quorum,
            "release_patients_min": p.release_patients_min,
            "empty_block_interval_ms": p.empty_block_interval_ms,
            "users": len(genesis.users),
        }
        members = [
            {"id": m.id, "name": m.name, "kind": m.kind, "gateway": m.endpoints.gateway}
            for m in genesis.members
        ]
        if json:
            print_json(fields | {"members": members})
            return
        print_fields(fields)
        rows = [[m["id"], m["name"], m["kind"], m["gateway"]] for m in members]
        print_table("Members", ["id", "name", "kind", "gateway"], rows)


@app.command("status")
def status(
    target: Annotated[Path, typer.Argument(help="Network directory, node.toml or gateway.toml.")],
    json: Json = False,
) -> None:
    """Show what validators say: heights, roots, peers, votes.

    Double votes are listed below, if any is known.
    """
    with reported_errors():
        import asyncio

        from nodes.cli.status import evidence_rows, gather_status, status_rows, validators_of

        async def ask() -> list[Mapping[str, object]]:
            return await gather_status(await validators_of(target))

        found = asyncio.run(ask())
        if json:
            print_json(found)
        else:
            columns, rows = status_rows(found)
            print_table("Validators", columns, rows)
            if doubles := evidence_rows(found):
                columns = ["member", "signed two", "height", "view", "evidence"]
                print_table("Double votes", columns, doubles)
        if all("error" in item for item in found):
            raise typer.Exit(3)


def _run_loop(work: Coroutine[object, object, None]) -> None:
    """Runs a server's main coroutine, on uvloop where there is one."""
    import asyncio
    import sys

    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop

    uvloop.run(work)


def main() -> None:
    """Entry point of ``yilian``."""
    write_any_text()
    app()


if __name__ == "__main__":
    main()
