"""Commands of the light client: verify a file, print a checkpoint, compare two hospitals."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from nodes.cli.output import BadArgument, print_fields, print_json, read_file, reported_errors

light_app = typer.Typer(
    help="Verify without trusting a server.", no_args_is_help=True, rich_markup_mode=None
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
GenesisFile = Annotated[Path, typer.Option(help="Genesis document that you trust.")]


@light_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="Saved proof, or evidence of a fork.")],
    genesis: GenesisFile,
    json: Json = False,
) -> None:
    """Verify a saved file offline, from the genesis alone."""
    with reported_errors():
        from ledger.light.saved import SAVED_PROOF_BYTES_MAX
        from ledger.types.genesis import GENESIS_BYTES_MAX
        from nodes.cli import light_work

        document = read_file(genesis, GENESIS_BYTES_MAX, "--genesis")
        data = read_file(file, SAVED_PROOF_BYTES_MAX, "FILE")
        found = light_work.verify_file(document, data)
        print_json(found) if json else print_fields(found)


@light_app.command("checkpoint")
def checkpoint(
    config: Annotated[Path, typer.Argument(help="gateway.toml of your hospital")],
    json: Json = False,
) -> None:
    """Print a checkpoint for those who visit rarely.

    They start from it as from the genesis document, because they trust the hospital that hands
    it out.
    """
    with reported_errors():
        from nodes.cli import light_work

        found = asyncio.run(light_work.print_checkpoint(config))
        if json:
            print_json(found)
            return
        print_fields(found)
        light_work.show_code(str(found["checkpoint"]))


@light_app.command("compare")
def compare(
    genesis: Annotated[Path, typer.Argument(help="Genesis document of the network.")],
    first: Annotated[str, typer.Argument(help="Id of a hospital.")],
    second: Annotated[str, typer.Argument(help="Id of another one.")],
    evidence: Annotated[Path, typer.Option(help="New file for evidence of a fork.")],
    checkpoint: Annotated[
        str, typer.Option(help="Printed checkpoint to start from, instead of the genesis.")
    ] = "",
    json: Json = False,
) -> None:
    """Compare what two hospitals say.

    Names the one that is stale or lies. Where both are certified and differ, the evidence is
    kept: hand it to the consortium.
    """
    with reported_errors():
        from nodes.cli import light_work

        if first == second:
            raise BadArgument("SECOND", "name another hospital")
        if evidence.exists() or not evidence.absolute().parent.is_dir():
            raise BadArgument("--evidence", f"{evidence}: name a new file in a folder that exists")
        found = asyncio.run(light_work.compare(genesis, (first, second), checkpoint, evidence))
        print_json(found) if json else print_fields(found)
