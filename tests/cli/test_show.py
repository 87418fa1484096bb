"""What commands print for people: an access log says what covered each disclosure."""

from dataclasses import replace

import pytest

from ledger.light.permissions import DisclosureNotCovered, PermissionCertificate
from ledger.primitives import Height
from nodes.cli.show import access_members, show_accesses
from tests.vectors import fixed


def test_ACC_1_what_nothing_covers_is_told_by_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    read, header = fixed.disclosed(), fixed.header()
    entries = [read, replace(read, height=Height(8)), read]
    certificates = [
        PermissionCertificate(fixed.permission(), header),
        DisclosureNotCovered(8, "the permission had ended"),
        PermissionCertificate(fixed.share(), header),
    ]
    members = access_members(entries, certificates)
    assert [each["covered"] for each in members] == [True, False, True]
    assert [each["ends"] for each in members] == ["height 900", None, "2025-06-15 15:06:50Z"]
    show_accesses({"accesses": members})
    *_, count, reason = capsys.readouterr().out.splitlines()
    assert count == "2 of 3 are covered by their permission or share, as proved."
    assert reason.endswith("hospital-00: the permission had ended.")
    assert reason.startswith("NOT covered: ")
