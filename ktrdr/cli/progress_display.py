"""How far an operation is, while a command waits for it: a bar in a terminal, else a line for each phase."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ktrdr.cli.output import say
from ktrdr.schemas.operations import OperationDocument


class ProgressDisplay(Protocol):
    """Shows an operation on stderr each time it is called."""

    def show(self, operation: OperationDocument) -> None:
        """Show the operation as it now is."""


class LineDisplay:
    """A line when the operation enters a phase: for logs and pipes."""

    def __init__(self) -> None:
        self._shown: str | None = None

    def show(self, operation: OperationDocument) -> None:
        """Print a line if the phase is a new one."""
        phase = phase_of(operation)
        if phase != self._shown:
            self._shown = phase
            say(f"[{operation.progress.percentage:3.0f} %] {phase}")


class BarDisplay:
    """A bar with percentage and step that is gone when the operation has ended."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def show(self, operation: OperationDocument) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bar.add_task("", total=100)
        step = operation.progress.current_step
        self._bar.update(self._task, completed=operation.progress.percentage, description=step)


@contextmanager
def progress_display() -> Iterator[ProgressDisplay]:
    """Yield the display that suits stderr."""
    if not sys.stderr.isatty():
        yield LineDisplay()
        return
    columns = (
        BarColumn(24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield BarDisplay(bar)


def phase_of(operation: OperationDocument) -> str:
    """Return the word for where an operation is: the phase of a running cycle, else its status."""
    phase = operation.metadata.get("phase")
    return phase if operation.status == "running" and isinstance(phase, str) else operation.status.value
