"""Find the lines of some operations in the log files of a folder."""

import base64
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ktrdr.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. `time` is ISO 8601, UTC; `source` names the worker or the machine's API that wrote it.

    `parent_id` and `phase` are None where nothing started the operation.
    """

    time: str
    level: str
    logger: str
    source: str
    operation_id: str
    parent_id: str | None
    phase: str | None
    trace_id: str | None
    message: str
    trace: str | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines, oldest first, and where the next page begins (None at the end)."""

    lines: list[LogLine]
    next_cursor: str | None


def read_log(folder: Path, operation_ids: Collection[str], *, limit: int, cursor: str | None = None) -> LogPage:
    """Return a page of the lines about some operations, from every file `NAME.log`, `NAME.log.1` … of a folder.

    Raises:
        InvalidInput: The cursor is none that a page gave.
    """
    lines = [line for path in sorted(folder.glob("*.log*"), key=_age) for line in _lines(path, operation_ids)]
    lines.sort(key=lambda line: (line.time, line.source))  # stable: lines of one moment stay in their order
    if cursor is not None:
        time, seen = _decode(cursor)
        same = [line for line in lines if line.time == time]
        lines = same[seen:] + [line for line in lines if line.time > time]
        already = seen
    else:
        time, already = "", 0
    page = lines[:limit]
    if len(lines) <= limit:
        return LogPage(page, None)
    last = page[-1].time
    n_same = sum(line.time == last for line in page) + (already if last == time else 0)
    return LogPage(page, base64.urlsafe_b64encode(f"{n_same} {last}".encode()).decode())


def _age(path: Path) -> int:
    """Return a key that puts older files first: `NAME.log.2` is older than `NAME.log.1`, and that than `NAME.log`."""
    number = path.suffix[1:]
    return -int(number) if number.isdigit() else 0


def _lines(path: Path, operation_ids: Collection[str]) -> Iterator[LogLine]:
    wanted = [operation_id.encode() for operation_id in operation_ids]
    try:
        with path.open("rb") as file:
            # Most lines are about something else: they are not even parsed.
            found = [line for line in file if any(operation_id in line for operation_id in wanted)]
    except FileNotFoundError:
        return  # moved on to the next number meanwhile
    for line in found:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # half a line: the disk was full
        if document.get("operation_id") in operation_ids:
            yield LogLine(
                time=document["time"],
                level=document["level"],
                logger=document["logger"],
                source=path.name.partition(".log")[0],
                operation_id=document["operation_id"],
                parent_id=document.get("parent_id"),
                phase=document.get("phase"),
                trace_id=document.get("trace_id"),
                message=document["message"],
                trace=document.get("trace"),
            )


def _decode(cursor: str) -> tuple[str, int]:
    try:
        n_same, _, time = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return time, int(n_same)
    except ValueError:
        raise InvalidInput(
            f"cursor: need the next_cursor of an earlier page, was {cursor!r}", reason="bad_cursor"
        ) from None
