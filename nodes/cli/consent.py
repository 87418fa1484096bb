"""Commands of hospital staff about a patient's wishes: directives, full copies, shares, keys."""

import asyncio
from typing import Annotated

import typer

from nodes.cli.output import BadArgument, hex_argument, print_json, reported_errors
from nodes.cli.people import GatewayFile, Identifier, Json, System, identifier_of

consent_app = typer.Typer(
    help="What a patient permits, asks for and shares.", no_args_is_help=True, rich_markup_mode=None
)


@consent_app.command("show")
def show(
    config: GatewayFile, identifier: Identifier, system: System = "", json: Json = False
) -> None:
    """Show a patient's directives, copy requests, shares and keys, proved.

    For a registrar. It shows no record, and is not in the access log.
    """
    with reported_errors():
        from nodes.cli import staff
        from nodes.cli.show import show_wishes

        found = asyncio.run(staff.wishes(config, system, identifier_of(identifier)))
        print_json(found) if json else show_wishes(found)


@consent_app.command("decide-copy")
def decide_copy(
    config: GatewayFile,
    patient: Annotated[str, typer.Argument(help="Patient key in hex, as show prints it.")],
    days: Annotated[
        int, typer.Option(help="Approve: how long the copy may be read.", min=0, max=30)
    ] = 0,
    refuse: Annotated[str, typer.Option(help="Refuse, for this reason.")] = "",
    json: Json = False,
) -> None:
    """Answer a patient's request for the full copy, once.

    For an administrator of the hospital that was asked.
    """
    with reported_errors():
        from ledger.types.residents import REFUSAL_REASONS
        from nodes.cli import staff

        key = hex_argument(patient, 32, "PATIENT")
        if bool(days) == bool(refuse):
            raise BadArgument("--days", "give either --days or --refuse")
        if refuse and refuse not in REFUSAL_REASONS:
            raise BadArgument("--refuse", f"give one of: {', '.join(REFUSAL_REASONS)}")
        answer = asyncio.run(staff.decide_copy(config, key, refuse or None, days))
        print_json(answer) if json else typer.echo(f"full copy {answer['state']}")


@consent_app.command("end-share")
def end_share(
    config: GatewayFile,
    share: Annotated[str, typer.Argument(help="Id of the share in hex, as show prints it.")],
    json: Json = False,
) -> None:
    """End a share now, as a patient asks at the counter.

    For an administrator of the hospital that serves it.
    """
    with reported_errors():
        from nodes.cli import staff

        ended = asyncio.run(staff.end_share(config, hex_argument(share, 32, "SHARE")))
        print_json(ended) if json else typer.echo(f"ended share {ended['share']}")
