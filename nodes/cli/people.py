"""Commands of the people who use the ledger: hospital staff, vendors, residents."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from nodes.cli.output import BadArgument, hex_argument, print_json, print_table, reported_errors

T = TypeVar("T")

hospital_app = typer.Typer(
    help="Find and read records.", no_args_is_help=True, rich_markup_mode=None
)
vendor_app = typer.Typer(
    help="Query de-identified records.", no_args_is_help=True, rich_markup_mode=None
)
enrolment_app = typer.Typer(
    help="Bind residents' keys.", no_args_is_help=True, rich_markup_mode=None
)
resident_app = typer.Typer(help="Your own records.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
GatewayFile = Annotated[Path, typer.Argument(help="gateway.toml of your hospital")]
Home = Annotated[Path, typer.Option(help="Folder with your key and settings.")]
Purpose = Annotated[str, typer.Option(help="Why: TREAT, or ETREAT in an emergency.")]
Identifier = Annotated[
    str, typer.Option("--id", help="Identifier of the patient; - reads it from standard input.")
]
System = Annotated[
    str, typer.Option(help="Identifier system; the first national one of gateway.toml if empty.")
]
Proof = Annotated[Path | None, typer.Option(help="New file for a proof that others can verify.")]


def add_commands(app: typer.Typer) -> None:
    """Adds these commands to ``yilian``."""
    for name, group in (
        ("hospital", hospital_app),
        ("enrolment", enrolment_app),
        ("vendor", vendor_app),
        ("resident", resident_app),
    ):
        app.add_typer(group, name=name)
    app.command("index")(index)


def _run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


def identifier_of(value: str) -> str:
    """The identifier, from standard input where it should not stand in the shell's history."""
    text = typer.get_text_stream("stdin").readline().strip() if value == "-" else value
    if not text:
        raise BadArgument("--id", "an identifier is wanted")
    return text


def _purpose(value: str) -> str:
    """A purpose there is; whether it is permitted, the chain says."""
    from ledger.types.entries import PURPOSES

    if value not in PURPOSES:
        raise BadArgument("--purpose", f"give one of: {', '.join(PURPOSES)}")
    return value


def _new(path: Path | None, argument: str) -> Path | None:
    """A path that is free, checked before a disclosure is recorded for nothing."""
    if path is not None and (path.exists() or not path.absolute().parent.is_dir()):
        raise BadArgument(argument, f"{path}: name a new one, in a folder that is there")
    return path


def index(
    config: GatewayFile,
    watch: Annotated[bool, typer.Option(help="Show progress while it runs.")] = False,
    json: Json = False,
) -> None:
    """Index what is new or changed in the hospital's stores."""
    with reported_errors():
        from nodes.cli import staff
        from nodes.cli.show import show_index_report

        report = _run(staff.run_index(config, watch and not json))
        if json:
            print_json(report)
        else:
            show_index_report(report)
        if report.get("state") != "done":
            raise typer.Exit(3)


@hospital_app.command("find")
def hospital_find(
    config: GatewayFile,
    identifier: Identifier,
    system: System = "",
    purpose: Purpose = "TREAT",
    json: Json = False,
) -> None:
    """List a patient's records at all hospitals, proved complete. It is recorded."""
    with reported_errors():
        from nodes.cli import staff
        from nodes.cli.show import show_list

        reason = _purpose(purpose)
        found = _run(staff.find(config, system, identifier_of(identifier), reason))
        print_json(found) if json else show_list(found)


@hospital_app.command("read")
def hospital_read(
    config: GatewayFile,
    patient: Annotated[str, typer.Argument(help="Patient key in hex, as find prints it.")],
    index: Annotated[int, typer.Argument(help="Number of the record in the list.", min=0)],
    permission: Annotated[str, typer.Option(help="Permission in hex; asks for one if empty.")] = "",
    purpose: Purpose = "TREAT",
    attachments: Annotated[
        Path | None, typer.Option(help="New folder for images that come along.")
    ] = None,
    proof: Proof = None,
    json: Json = False,
) -> None:
    """Read one record, verified against the chain. It is recorded."""
    with reported_errors():
        from nodes.cli import staff
        from nodes.cli.show import show_record

        key = hex_argument(patient, 32, "PATIENT")
        given = hex_argument(permission, 32, "--permission") if permission else None
        reason = _purpose(purpose)
        wanted = staff.Reading(
            key,
            index,
            given,
            reason,
            _new(attachments, "--attachments"),
            _new(proof, "--proof"),
        )
        found = _run(staff.read(config, wanted))
        print_json(found) if json else show_record(found)


@enrolment_app.command("new")
def enrolment_new(
    config: GatewayFile,
    identifier: Identifier,
    system: System = "",
    guardian: Annotated[
        bool, typer.Option("--guardian", help="For who reads for this patient, a child.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a one-time code for a person's device.

    For a registrar, who has seen the person and an identity document.
    """
    with reported_errors():
        from nodes.cli import staff

        role = "guardian" if guardian else "resident"
        made = _run(staff.new_enrolment(config, system, identifier_of(identifier), role))
        print_json(made) if json else typer.echo(
            f"one-time code, for the person to scan within 15 minutes:\n{made['code']}"
        )


@enrolment_app.command("confirm")
def enrolment_confirm(
    config: GatewayFile,
    code: Annotated[str, typer.Option(help="The one-time code.")],
    check: Annotated[str, typer.Option(help="The six digits that the device shows.")],
    replaces: Annotated[
        list[str] | None, typer.Option(help="Id of a key on a lost device; it ends at once.")
    ] = None,
    days: Annotated[int, typer.Option(help="How long the key is valid.", min=1, max=3650)] = 365,
    json: Json = False,
) -> None:
    """Bind the key that the person's device has posted.

    The digits make sure that it is this person's.
    """
    with reported_errors():
        from nodes.cli import staff

        old = [hex_argument(key, 32, "--replaces") for key in replaces or ()]
        posted = _run(staff.posted_key(config, code))
        if posted["check"] != check.replace(" ", ""):
            raise BadArgument("--check", "another device has posted its key; make a new code")
        bound = _run(staff.confirm_enrolment(config, code, days, old))
        print_json(bound) if json else typer.echo(f"bound key {bound['key_id']}")


@vendor_app.command("query")
def vendor_query(
    config: Annotated[Path, typer.Argument(help="vendor.toml")],
    holder: Annotated[list[str] | None, typer.Option(help="Hospital to ask; all if none.")] = None,
    kind: Annotated[str, typer.Option(help="Kind of record, such as Observation.")] = "",
    code: Annotated[str, typer.Option(help="Code of the record.")] = "",
    purpose: Annotated[str, typer.Option(help="Why: HRESCH or TREAT.")] = "HRESCH",
    limit: Annotated[int, typer.Option(help="At most so many of each hospital.", min=1)] = 10_000,
    images: Annotated[
        Path | None, typer.Option(help="New folder for de-identified images of studies.")
    ] = None,
    json: Json = False,
) -> None:
    """Query records and verify each.

    They are de-identified; each is verified against a release on chain.
    """
    with reported_errors():
        from nodes.cli import outsiders
        from nodes.cli.show import show_query

        reason = _purpose(purpose)
        folder = _new(images, "--images")
        query = outsiders.Query(tuple(holder or ()), kind, code, reason, limit, folder)
        found = _run(outsiders.vendor_query(config, query))
        print_json(found) if json else show_query(found)


@resident_app.command("enrol")
def resident_enrol(
    home: Home,
    genesis: Annotated[Path, typer.Option(help="Genesis document, from your hospital.")],
    code: Annotated[str, typer.Option(help="One-time code, from your hospital.")],
    json: Json = False,
) -> None:
    """Make your key on this device and show it to your hospital.

    Then tell the registrar the digits, who binds the key.
    """
    with reported_errors():
        from nodes.cli import outsiders

        made = _run(outsiders.enrol(home, genesis, code))
        if json:
            print_json(made)
            return
        typer.echo(f"digits for the registrar: {made['check']}")


@resident_app.command("list")
def resident_list(home: Home, proof: Proof = None, json: Json = False) -> None:
    """List all your records, proved complete."""
    with reported_errors():
        from nodes.cli import outsiders
        from nodes.cli.show import show_list

        found = _run(outsiders.resident_list(home, _new(proof, "--proof")))
        print_json(found) if json else show_list(found)


@resident_app.command("show")
def resident_show(
    home: Home,
    index: Annotated[int, typer.Argument(help="Number of the record in the list.", min=0)],
    proof: Proof = None,
    json: Json = False,
) -> None:
    """Show one of your records, verified.

    Medication details are hidden.
    """
    with reported_errors():
        from nodes.cli import outsiders
        from nodes.cli.show import show_record

        found = _run(outsiders.resident_show(home, index, _new(proof, "--proof")))
        print_json(found) if json else show_record(found)


@resident_app.command("accesses")
def resident_accesses(home: Home, proof: Proof = None, json: Json = False) -> None:
    """Show who read which of your records, when and why.

    The list is proved complete, and what covered each disclosure is checked.
    """
    with reported_errors():
        from nodes.cli import outsiders

        found = _run(outsiders.resident_accesses(home, _new(proof, "--proof")))
        if json:
            print_json(found)
            return
        columns = ["time", "reader", "holder", "view", "purpose", "basis", "records", "covered"]
        rows = [[item[name] for name in columns] for item in found["accesses"]]
        print_table("Who was shown your records", columns, rows)
