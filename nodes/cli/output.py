"""What every command shares: exit codes, error lines, tables and JSON on the terminal."""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import typer

from ledger.errors import CallerBug, LedgerError, PeerFault, WorldFault

REFUSED = 1
"""Exit code: another party refused, or something does not verify."""
USAGE = 2
"""Exit code: the command line or a configuration file is wrong."""
WORLD = 3
"""Exit code: network, disk, or a fault of this program."""
BROKEN_PIPE = 141
"""Exit code of a program whose output nobody reads any more, as shells know it."""
_COLUMNS = 80
"""Of the terminal for which texts are made; a value is never broken, so that it can be copied."""


# Known by their names, because the module that defines them loads pydantic.
_CONFIG_ERRORS = frozenset({"BadPlan", "ConfigInvalid", "FileUnusable"})


@dataclass(eq=False)
class BadArgument(WorldFault):
    """An argument on the command line cannot be used."""

    argument: str
    reason: str
    template = "{argument}: {reason}"


def exit_code(error: LedgerError) -> int:
    """The exit code that says whose fault an error is."""
    if isinstance(error, PeerFault):
        return REFUSED
    if isinstance(error, BadArgument) or type(error).__name__ in _CONFIG_ERRORS:
        return USAGE
    return WORLD


@contextmanager
def reported_errors() -> Iterator[None]:
    """Ends the command with one line on standard error and an exit code; never a traceback."""
    try:
        yield
    except LedgerError as error:
        if isinstance(error, CallerBug):
            raise typer.Exit(_report_bug(error)) from None
        _say(str(error))
        raise typer.Exit(exit_code(error)) from None
    except BrokenPipeError:
        # Whoever read our output went away, such as `head`: nobody is left to be told, and the
        # interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _say(f"{where}{error.strerror or type(error).__name__}; check the path and the disk")
        raise typer.Exit(WORLD) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # noqa: BLE001  # people get a line, not a traceback
        raise typer.Exit(_report_bug(error)) from None


def read_file(path: Path, limit: int, argument: str) -> bytes:
    """A file named on the command line; raises BadArgument where it is missing or too large."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise BadArgument(argument, f"{path} has {size} bytes, at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadArgument(argument, f"{path}: {reason}; give the path of a file") from None


def hex_argument(text: str, size: int, argument: str) -> bytes:
    """An argument in hex of exactly ``size`` bytes; raises BadArgument."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise BadArgument(argument, f"{size} bytes in hex, {2 * size} digits, are wanted")
    return value


def write_any_text() -> None:
    """Lets every text be written, whatever the terminal's character set can show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: object) -> None:
    """One JSON document on standard output; escaped where the output is not UTF-8."""
    escape = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=escape, indent=2) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table that fits the terminal; long cells are folded, never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text objects: what a server sent is never read as markup.
        table.add_row(*(Text(_printable(cell)) for cell in row))
    Console().print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line; a value with no room beside its name stands below it."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        text = _printable(value)
        beside = width + 2 + len(text) <= _COLUMNS
        sys.stdout.write(f"{name.ljust(width)}  {text}\n" if beside else f"{name}\n  {text}\n")


def _printable(value: object) -> str:
    """Text for a terminal, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _report_bug(error: Exception) -> int:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    _say(f"this program failed ({type(error).__name__} at {where}); please report these words")
    return WORLD


def _say(line: str) -> None:
    typer.echo("yilian: " + " ".join(_printable(part) for part in line.splitlines()), err=True)
