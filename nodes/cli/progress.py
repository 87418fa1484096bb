"""The progress line of an index run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def index_progress(shown: bool) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Gives a function that shows a report's counts on standard error; nothing unless ``shown``."""
    if not shown:
        yield lambda _report: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting")

        def update(report: Mapping[str, object]) -> None:
            if report:
                counts = (
                    f"{report.get('phase')}: {report.get('records', 0)} records read, "
                    f"{report.get('committed', report.get('indexed', 0))} rows committed, "
                    f"{report.get('problems', 0)} problems"
                )
                progress.update(task, description=counts)

        yield update
