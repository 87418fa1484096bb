"""Commands of a hospital's administrator: who belongs to the network, who votes, with which key."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from nodes.cli.output import (
    hex_argument,
    print_fields,
    print_json,
    reported_errors,
)

governance_app = typer.Typer(
    help="Who belongs to the network, and who votes.", no_args_is_help=True, rich_markup_mode=None
)
keys_app = typer.Typer(help="Keys of this hospital.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
NodeFile = Annotated[Path, typer.Argument(help="node.toml of your hospital")]
MemberName = Annotated[str, typer.Argument(metavar="MEMBER", help="Id of a hospital.")]
EvenIfItStops = Annotated[
    bool, typer.Option("--even-if-it-stops", help="Do not ask whether enough validators are live.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds these commands to ``yilian``."""
    app.add_typer(governance_app, name="governance")
    app.add_typer(keys_app, name="keys")


@governance_app.command("list")
def governance_list(
    config: NodeFile,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were carried or have lapsed.")
    ] = False,
    json: Json = False,
) -> None:
    """List the proposals that wait for approvals.

    The list is proved complete.
    """
    with reported_errors():
        from nodes.cli import consortium

        found = asyncio.run(consortium.list_proposals(config, everything))
        if json:
            print_json(found)
            return
        for item in found:
            print_fields(item | {"approved_by": ", ".join(item["approved_by"])})
            typer.echo("")
        typer.echo(f"{len(found)} proposals; approve one with `yilian governance approve`.")


@governance_app.command("propose-vote")
def propose_vote(
    config: NodeFile,
    member: MemberName,
    even_if_it_stops: EvenIfItStops = False,
    json: Json = False,
) -> None:
    """Propose that a hospital of the network votes.

    Refused while too few validators would be live afterwards.
    """
    with reported_errors():
        from ledger.types.governance import GiveVote
        from nodes.cli import consortium

        change = consortium.change_of_vote(GiveVote, member)
        _show(asyncio.run(consortium.propose(config, change, even_if_it_stops)), json)


@governance_app.command("propose-removal")
def propose_removal(
    config: NodeFile,
    member: MemberName,
    even_if_it_stops: EvenIfItStops = False,
    json: Json = False,
) -> None:
    """Propose that a hospital does not vote any more.

    Refused while too few validators would be live afterwards. It stays a member, and its records
    stay where they are.
    """
    with reported_errors():
        from ledger.types.governance import TakeVote
        from nodes.cli import consortium

        change = consortium.change_of_vote(TakeVote, member)
        _show(asyncio.run(consortium.propose(config, change, even_if_it_stops)), json)


@governance_app.command("propose-admission")
def propose_admission(
    config: NodeFile,
    file: Annotated[Path, typer.Argument(help="admission.bin of the new hospital.")],
    json: Json = False,
) -> None:
    """Propose that a new hospital belongs to the network; it has no vote yet.

    Compare the file's digest with the new hospital by another way than the one it came.
    """
    with reported_errors():
        from nodes.cli import consortium

        admission = consortium.read_admission(file)
        _show(asyncio.run(consortium.propose(config, admission, True)), json)


@governance_app.command("propose-view-rules")
def propose_view_rules(
    config: NodeFile,
    file: Annotated[Path, typer.Argument(help="Rule file of a view, as this version ships it.")],
    json: Json = False,
) -> None:
    """Propose that a view shows what another rule file says.

    First install the version that ships the file at every hospital.
    """
    with reported_errors():
        from nodes.cli import consortium

        change = consortium.read_view_rules(file)
        _show(asyncio.run(consortium.propose(config, change, True)), json)


@governance_app.command("approve")
def approve(
    config: NodeFile,
    proposal: Annotated[str, typer.Argument(help="Id in hex, as list prints it.")],
    even_if_it_stops: EvenIfItStops = False,
    json: Json = False,
) -> None:
    """Approve a proposal as your hospital.

    It is carried once a quorum of the hospitals that vote has approved it.
    """
    with reported_errors():
        from nodes.cli import consortium

        wanted = hex_argument(proposal, 32, "PROPOSAL")
        _show(asyncio.run(consortium.approve(config, wanted, even_if_it_stops)), json)


@keys_app.command("renew")
def keys_renew(config: NodeFile, json: Json = False) -> None:
    """Give this validator a new consensus key; stop the node first.

    The way back for an observer that lost its safety store, and for a key that may be known to
    others. Whatever interrupts it: run it again, and it goes on.
    """
    with reported_errors():
        from nodes.config import NodeConfig, load_config
        from nodes.renewal import renew_key

        loaded = load_config(NodeConfig, config)
        signer = asyncio.run(renew_key(loaded))
        made = {"member": str(loaded.member), "key_id": signer.public_key.key_id.hex()}
        if json:
            print_json(made)
            return
        print_fields(made)
        typer.echo(
            f"\nThe chain has the new key. Start the node now: `yilian node run {config}`.\n"
            "The old key and safety store are kept beside the new ones; never use them again."
        )


def _show(made: dict[str, object], json: bool) -> None:
    if json:
        print_json(made)
        return
    print_fields(made)
    if not made["carried"]:
        typer.echo("\nOther hospitals approve it with `yilian governance approve`.")
