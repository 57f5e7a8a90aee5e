"""The one progress bar: on a terminal's stderr, and nothing in a log file."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Description and bar, then ``columns`` (default: how many are done), then the time that remains."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *(columns or (MofNCompleteColumn(),)),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def tracked(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """The items, with a bar that advances by one for each."""
    with progress_bar() as progress:
        yield from progress.track(items, total=total, description=description)
