"""What `ktrdr operations` does."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from ktrdr.cli.agent_actions import strategy_of
from ktrdr.cli.cycle_report import attempt_words, cycle_lines, gate_words, gates_of, outcome_line, trace_words
from ktrdr.cli.exit_codes import ExitCode, exit_code_of_operation
from ktrdr.cli.follow import say_detached
from ktrdr.cli.output import (
    LINE_WIDTH,
    MISSING,
    print_document,
    print_document_line,
    print_lines,
    say,
    shorten,
    table_lines,
)
from ktrdr.cli.progress_display import progress_display
from ktrdr.cli.session import run_action
from ktrdr.cli.watch import watch
from ktrdr.clock import format_time
from ktrdr.connect.connection import Connection
from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.operations import LogLineDocument, OperationDocument, PruneRequest

_STRATEGY_WIDTH = 16


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Which operations to list."""

    type: str | None
    status: str | None
    parent_id: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    cursor: str | None


def list_page(options: ListOptions, as_json: bool) -> None:
    """Show a page of operations."""

    async def action(connection: Connection) -> int:
        page = await connection.client.list_operations(
            type=options.type,
            status=None if options.status is None else OperationStatus(options.status),
            parent_id=options.parent_id,
            since=options.since,
            until=options.until,
            limit=options.limit,
            cursor=options.cursor,
        )
        if as_json:
            print_document(page)
            return ExitCode.OK
        if not page.operations:
            say("No operations.")
            return ExitCode.OK
        print_lines(_table(page.operations))
        if page.next_cursor is not None:
            say(f"There are more: --cursor {page.next_cursor}")
        return ExitCode.OK

    run_action(action)


def show_operation(operation_id: str, as_json: bool) -> None:
    """Show one operation, for a person with its children."""

    async def action(connection: Connection) -> int:
        operation = await connection.client.operation(operation_id)
        if as_json:
            print_document(operation)
            return ExitCode.OK
        children = await connection.client.children(operation.operation_id)
        lines = _detail_lines(operation)
        if children.operations:
            lines += ["", "Started:", *(f"  {line}" for line in _table(children.operations, LINE_WIDTH - 2))]
        if children.next_cursor is not None:
            lines += [f"  … and more: ktrdr operations list --parent {operation.operation_id}"]
        print_lines(lines)
        return ExitCode.OK

    run_action(action)


def show_log(operation_id: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """Show what was logged about an operation and all it started: a page, or for a person everything."""

    async def action(connection: Connection) -> int:
        page = await connection.client.log(operation_id, limit=limit, cursor=cursor)
        if as_json:
            print_document(page)
            return ExitCode.OK
        if not page.lines:
            say("Nothing was logged about it, or the log has moved on.")
        print_lines(_log_lines(page.lines))
        if page.next_cursor is not None:
            say(f"There is more: --cursor {page.next_cursor}")
        return ExitCode.OK

    run_action(action)


def prune_operations(older_than: str, dry_run: bool, as_json: bool) -> None:
    """Forget operations that ended long ago."""
    request = PruneRequest.build(older_than=older_than, dry_run=dry_run)

    async def action(connection: Connection) -> int:
        pruned = await connection.client.prune(request)
        if as_json:
            print_document(pruned)
            return ExitCode.OK
        verb = "would be forgotten" if dry_run else "forgotten"
        words = f"{pruned.n_operations} operation(s) that ended before {format_time(pruned.ended_before)} {verb}"
        print_lines([words, *(f"  {name}: {count}" for name, count in sorted(pruned.by_type.items()))])
        return ExitCode.OK

    run_action(action)


def cancel_operation(operation_id: str, as_json: bool) -> None:
    """Cancel an operation."""

    async def action(connection: Connection) -> int:
        cancelled = await connection.client.cancel(operation_id)
        if as_json:
            print_document(cancelled)
        else:
            print_lines([f"{cancelled.operation_id} {cancelled.status.value}"])
        return ExitCode.OK

    run_action(action)


def watch_operation(operation_id: str, as_json: bool) -> None:
    """Show an operation until it ends."""

    async def action(connection: Connection) -> int:
        try:
            if as_json:
                ended = await watch(connection, operation_id, print_document_line)
            else:
                with progress_display() as display:
                    ended = await watch(connection, operation_id, display.show)
        except asyncio.CancelledError:
            say_detached(connection, operation_id)
            return ExitCode.INTERRUPTED
        if not as_json and ended.type == "agent_research":
            print_lines(cycle_lines(ended, await strategy_of(connection, ended)))
        elif not as_json:
            print_lines([outcome_line(ended)])
        return exit_code_of_operation(ended.status, ended.error.reason if ended.error else None)

    run_action(action)


def _table(operations: list[OperationDocument], width: int = LINE_WIDTH) -> list[str]:
    rows = [
        (
            operation.operation_id,
            operation.status.value,
            f"{operation.progress.percentage:.0f} %",
            shorten(str(operation.metadata.get("strategy_name") or MISSING), _STRATEGY_WIDTH),
        )
        for operation in operations
    ]
    header, *lines = table_lines(("operation", "status", "done", "strategy"), rows)
    room = max(map(len, (header, *lines))) + 2
    steps = [_step_words(operation, width - room) for operation in operations]
    return [f"{line:{room}}{step}" for line, step in zip((header, *lines), ("step or reason", *steps), strict=True)]


def _step_words(operation: OperationDocument, width: int) -> str:
    """Return the end of a reason, which says most, or the beginning of a step; `show` has them whole."""
    if operation.error is None:
        return shorten(operation.progress.current_step, width)
    reason = operation.error.reason
    return reason if len(reason) <= width else f"…{reason[1 - width :]}"


def _log_lines(lines: list[LogLineDocument]) -> list[str]:
    shown = []
    for line in lines:
        about = f"{line.source} {line.operation_id[-6:]} {line.logger}"
        shown.append(f"{line.time[:23]}Z {line.level:7} {about}: {line.message}")
        shown += [f"  {part}" for part in (line.trace or "").splitlines()]
    return shown


def _detail_lines(operation: OperationDocument) -> list[str]:
    times = {
        "created": operation.created_at,
        "started": operation.started_at,
        "completed": operation.completed_at,
    }
    rows = [
        ("operation", operation.operation_id),
        ("type", operation.type),
        ("status", operation.status.value),
        ("parent", operation.parent_id or MISSING),
        *((name, MISSING if moment is None else format_time(moment)) for name, moment in times.items()),
        ("progress", f"{operation.progress.percentage:.1f} %, {operation.progress.current_step}"),
    ]
    if operation.error is not None:
        rows += [("reason", operation.error.reason), ("message", operation.error.message)]
    for name, value in operation.metadata.items():
        if name == "gates":
            rows += [("gate", gate_words(gate)) for gate in gates_of(operation)]
        elif name == "trace_id":
            continue  # the last row
        elif name == "attempts":
            rows += [("earlier attempt", words) for words in attempt_words(operation)]
        else:
            rows.append((name, _value_words(value)))
    rows.append(("trace", trace_words(operation)))
    return table_lines(("", ""), rows)[1:]


def _value_words(value: JsonValue) -> str:
    return MISSING if value in (None, []) else shorten(str(value), 200)
