"""Turns verified results into JSON members, and those into text for an 80-column terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from ledger.commitment import Disclosure
from ledger.light.bundles import StateBundle
from ledger.light.consent import VerifiedShare
from ledger.light.permissions import DisclosureNotCovered, PermissionCertificate
from ledger.light.records import VerifiedRecord
from ledger.light.saved import Provable, SavedProof
from ledger.primitives import Hash32
from ledger.types.entries import Disclosed, Permission, view_key
from ledger.types.residents import CopyRequest, Directive
from nodes.cli.output import BadArgument, print_fields, print_table
from nodes.client.records import RecordList, ShownRecord
from nodes.client.session import LightSession
from nodes.view_rules.files import rules_of

PROBLEMS_SHOWN_MAX = 500
"""Rows of a table that people still read; JSON lists more."""

Members = dict[str, Any]
"""JSON members of one result."""


def utc_text(time_ms: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def list_members(session: LightSession, found: RecordList) -> Members:
    """A verified list: every row, opened where its key was given."""
    records = []
    for item in found.records:
        metadata = item.metadata
        records.append(
            {
                "index": item.listed.index,
                "holder": item.listed.row.member,
                "status": item.listed.status or "valid",
                "kind": None if metadata is None else metadata.kind,
                "code": None if metadata is None else metadata.code,
                "effective": None if metadata is None else metadata.effective,
            }
        )
    header = found.verified.header
    return {
        "complete": True,
        "height": header.height,
        "age_ms": session.age_ms(header),
        "records": records,
    }


def fields_of(record: VerifiedRecord) -> list[dict[str, str]]:
    """Paths and values as texts, in the order of the paths."""
    return [
        {"path": path.decode("utf-8", "replace"), "value": value.decode("utf-8", "replace")}
        for path, value in sorted(record.fields.items())
    ]


def record_members(shown: ShownRecord) -> Members:
    """A verified record."""
    return {
        "verified": True,
        "index": shown.listed.index,
        "holder": shown.listed.row.member,
        "status": shown.listed.status or "valid",
        "kind": shown.kind,
        "view": shown.record.view,
        "fields": fields_of(shown.record),
        "view_version": shown.record.version,
        "hidden_fields": shown.record.hidden_count,
        "hidden_by": list(shown.record.hiding_rules) if shown.record.hidden else [],
        "attachments": len(shown.attachments),
    }


def access_members(
    entries: Sequence[Disclosed],
    certificates: Sequence[PermissionCertificate | DisclosureNotCovered],
) -> list[Members]:
    """A verified access log, oldest first, with what covered each disclosure."""
    return [
        {
            "time": utc_text(item.time_ms),
            "reader": item.reader_member,
            "reader_key": item.reader.hex(),
            "holder": item.holder,
            "view": item.view,
            "purpose": item.purpose,
            "basis": item.basis,
            "records": ", ".join(map(str, item.rows)) or "list only",
            "height": item.height,
            "permission": item.permission.hex(),
        }
        | _certificate_members(certificate)
        for item, certificate in zip(entries, certificates, strict=True)
    ]


def _certificate_members(certificate: PermissionCertificate | DisclosureNotCovered) -> Members:
    if isinstance(certificate, DisclosureNotCovered):
        return {"covered": False, "why_not": certificate.reason, "ends": None}
    granted = certificate.granted
    ends = (
        f"height {granted.expires}"
        if isinstance(granted, Permission)
        else utc_text(granted.until_ms)
    )
    return {"covered": True, "why_not": None, "ends": ends}


def show_accesses(found: Members) -> None:
    """The access log as a table, and whether a permission or share covered each entry."""
    columns = ["time", "reader", "holder", "view", "purpose", "basis", "records"]
    rows = [[item[name] for name in columns] for item in found["accesses"]]
    print_table("Who was shown your records", columns, rows)
    open_ = [item for item in found["accesses"] if not item["covered"]]
    covered = len(rows) - len(open_)
    typer.echo(f"{covered} of {len(rows)} are covered by their permission or share, as proved.")
    for item in open_:
        typer.echo(f"NOT covered: {item['time']}, {item['reader']}: {item['why_not']}.")


def directive_members(directive: Directive, time_ms: int) -> Members:
    """A directive as it is at that block time."""
    return {
        "who": directive.member or "everybody",
        "key": None if directive.reader is None else directive.reader.hex(),
        "views": ", ".join(directive.views) or "nothing",
        "purposes": ", ".join(directive.purposes) or "nothing",
        "until": utc_text(directive.until_ms),
        "holds": time_ms < directive.until_ms,
    }


def copy_members(copy: CopyRequest) -> Members:
    """A request for a full copy."""
    until = utc_text(copy.until_ms) if copy.state == "approved" else None
    return {
        "hospital": copy.hospital,
        "state": copy.state,
        "reason": copy.reason,
        "until": until,
    }


def share_members(share_id: Hash32, found: VerifiedShare) -> Members:
    """A share as it is at its header's time."""
    share = found.share
    return {
        "share": share_id.hex(),
        "holder": share.holder,
        "records": ", ".join(map(str, share.rows)),
        "view": share.view,
        "until": utc_text(share.until_ms),
        "attempts_left": share.attempts_left,
        "state": found.closed or "open",
    }


async def save_proof(
    file: Path | None, session: LightSession, bundle: Provable, disclosure: Disclosure | None
) -> None:
    """Writes a proof to a new file, if one is named; ``yilian light verify`` checks it."""
    if file is None:
        return
    state = bundle if isinstance(bundle, StateBundle) else bundle.state
    changes = await session.changes(state.certified.header.height)
    rules = None
    if disclosure is not None:
        rules, _ = await session.state_bundle(view_key(disclosure.view))
    proof = SavedProof(session.genesis.chain_id, changes, bundle, disclosure, state.key, rules)
    try:
        with file.open("xb") as out:
            out.write(proof.encode())
    except OSError as error:
        raise BadArgument("--proof", f"{file}: {error.strerror}; name a new file") from None


def show_list(found: Mapping[str, Any]) -> None:
    """A list of records as a table."""
    columns = ["index", "holder", "kind", "code", "effective", "status"]
    rows = [
        ["-" if item[name] in (None, "") else item[name] for name in columns]
        for item in found["records"]
    ]
    print_table("Records (complete list, verified)", columns, rows)
    head = ("system", "patient", "permission", "height", "age_ms")
    print_fields({name: found[name] for name in head if name in found})
    if not rows:
        typer.echo(
            "\nNo hospital has indexed a record under this identifier of this system. A mistyped\n"
            "identifier, or one of another system, has an empty list too: check both."
        )


def show_record(found: Mapping[str, Any]) -> None:
    """A record, one field a line, and how many are hidden."""
    head = ("holder", "index", "kind", "view", "status", "attachments")
    print_fields({name: found[name] for name in head})
    typer.echo("")
    print_fields({item["path"]: item["value"] for item in found["fields"]})
    if found["hidden_fields"]:
        rules = rules_of(found["view"], found["view_version"]).texts
        typer.echo(f"\n[{found['hidden_fields']} fields hidden in this view]")
        for rule in found["hidden_by"]:
            typer.echo(f"- {rules[rule]['en']}")
    typer.echo("\nEvery field shown is verified against the chain.")


def show_wishes(found: Mapping[str, Any]) -> None:
    """A patient's wishes, a table for each kind that there is."""
    print_fields({name: found[name] for name in ("system", "patient", "height", "age_ms")})
    for title, name in (
        ("Directives: who may read what, and nothing else", "directives"),
        ("Full copies", "copies"),
    ):
        if not found[name]:
            typer.echo(f"\n{title}: none")
            continue
        typer.echo("")
        columns = [c for c in found[name][0] if any(each[c] is not None for each in found[name])]
        rows = [["-" if each[c] is None else each[c] for c in columns] for each in found[name]]
        print_table(title, columns, rows)
    # No tables: ids are to be copied.
    for title, name in (("Shares", "shares"), ("Keys that act for the patient", "keys")):
        typer.echo(f"\n{title}: {len(found[name]) or 'none'}")
        for each in found[name]:
            typer.echo("")
            print_fields(each)


def show_query(found: Mapping[str, Any]) -> None:
    """How many records of each hospital were verified."""
    rows = [[item["holder"], item["verified"]] for item in found["holders"]]
    print_table("Verified de-identified records", ["holder", "records"], rows)
    print_fields({"total": found["verified"]})


def show_index_report(report: Mapping[str, Any]) -> None:
    """Counts of an index run, and each problem by name."""
    listed = report.get("problem_list", [])
    hidden = ("problem_list", "problems_by_reason")
    print_fields({name: value for name, value in report.items() if name not in hidden})
    if not listed:
        return
    rows = [[item["file"], item["position"], item["code"]] for item in listed]
    print_table("Not indexed", ["file", "position", "reason"], rows[:PROBLEMS_SHOWN_MAX])
    texts = {item["code"]: item["text"] for item in listed}
    counts = report["problems_by_reason"].items()
    print_table(
        "Reasons",
        ["count", "reason", "meaning"],
        [[n, code, texts.get(code, "see --json")] for code, n in counts],
    )
    if len(rows) > PROBLEMS_SHOWN_MAX:
        typer.echo(f"The first {PROBLEMS_SHOWN_MAX} are shown; --json lists {len(rows)}.")
