"""Changes product code for the length of a ``with`` block, and complains loudly if it cannot."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import CodeType, FunctionType
from unittest.mock import patch

PACKAGES = ("ledger", "contracts", "nodes", "tests.simulation")


class EditFailed(Exception):
    """The function or the text that an edit is about is no longer there: repair the edit."""


@dataclass(frozen=True)
class Edit:
    """Replaces one piece of text in the source of one function of the product."""

    target: str
    """``module:function`` or ``module:Class.method``."""
    old: str
    """Occurs exactly once in the function."""
    new: str

    def function(self) -> FunctionType:
        """The function as it is; raises EditFailed."""
        module, _, path = self.target.partition(":")
        found: object = import_module(module)
        for name in path.split("."):
            owner, found = found, inspect.getattr_static(found, name, None)
            if found is None:
                raise EditFailed(f"{self.target}: {owner!r} has no {name}")
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
        if isinstance(found, property):
            found = found.fget
        if isinstance(found, cached_property):
            found = found.func
        if not isinstance(found, FunctionType):
            raise EditFailed(f"{self.target}: not a function but {found!r}")
        return found


@contextmanager
def edited(edits: Sequence[Edit]) -> Iterator[None]:
    """Inside, the edited functions run, whoever knows them by whatever name.

    Only the code of a function is exchanged, not the function. Raises EditFailed.
    """
    before: dict[FunctionType, CodeType] = {}
    sources: dict[FunctionType, str] = {}
    for edit in edits:
        function = edit.function()
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        if source.count(edit.old) != 1:
            raise EditFailed(f"{edit.target}: {source.count(edit.old)} times {edit.old!r}")
        sources[function] = source.replace(edit.old, edit.new)
    try:
        for function, source in sources.items():
            before[function] = function.__code__
            function.__code__ = _compiled(function, source)
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code


def _compiled(function: FunctionType, source: str) -> CodeType:
    while source.startswith("@"):  # decorators have done their work
        source = source.partition("\n")[2]
    names: dict[str, FunctionType] = {}
    exec(compile(source, f"mutant of {function.__qualname__}", "exec"), function.__globals__, names)
    return names[function.__name__].__code__


@contextmanager
def swapped_function(original: Callable[..., object], replacement: object) -> Iterator[None]:
    """Inside, every module of ours that knows ``original`` by a name knows ``replacement``."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith(PACKAGES):
                for attribute, value in list(vars(module).items()):
                    if value is original:
                        stack.enter_context(patch.object(module, attribute, replacement))
        yield
