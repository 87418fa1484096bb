"""The rule files of the views that this version knows, as they are shipped.

A new version of a view is a new file beside the old one: what was shown under the old rules must
still be verified by them. The chain says which version is in force.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

from ledger.light.view_rules import ViewRules
from ledger.primitives import Hash32

_NAMES = ("clinical-1", "deidentified-1", "resident-1")


@cache
def rule_files() -> Mapping[Hash32, bytes]:
    """Hash to bytes of each shipped file."""
    folder = resources.files("nodes.view_rules")
    files = [folder.joinpath(f"{name}.json").read_bytes() for name in _NAMES]
    return {ViewRules.decode(data).hash: data for data in files}


@cache
def known_rules() -> Mapping[Hash32, ViewRules]:
    """The same, decoded."""
    return {digest: ViewRules.decode(data) for digest, data in rule_files().items()}


def rules_of(view: str, version: int) -> ViewRules:
    """The shipped rules of a view; raises KeyError where this version does not ship them."""
    for rules in known_rules().values():
        if (rules.view, rules.version) == (view, version):
            return rules
    raise KeyError(view, version)


@cache
def newest_rules(view: str) -> ViewRules:
    """The highest shipped version of a view."""
    return max((r for r in known_rules().values() if r.view == view), key=lambda r: r.version)
