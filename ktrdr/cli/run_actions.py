"""What `ktrdr train` and `ktrdr backtest` do."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from ktrdr.cli.agent_actions import strategy_of
from ktrdr.cli.cycle_report import outcome_line, result_lines
from ktrdr.cli.exit_codes import ExitCode, exit_code_of_operation
from ktrdr.cli.follow import Followed, start_and_follow
from ktrdr.cli.output import print_document, print_lines, say
from ktrdr.cli.session import require_server, run_action
from ktrdr.cli.strategies_actions import read_strategy_file
from ktrdr.cli.sweep_report import sweep_lines, sweep_of
from ktrdr.connect.connection import Connection
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.strategies import BacktestRequest, TrainingRequest
from ktrdr.strategy.variants import split_sweep

FILE_ENDINGS = (".yaml", ".yml", ".json")


def train_strategy(file_or_name: str, seed: int | None, detach: bool, as_json: bool) -> None:
    """Store a strategy if a file was given, train it, and show what came of it."""

    async def action(connection: Connection) -> int:
        if detach:
            require_server(connection)
        name = await _stored_name(connection, file_or_name)

        async def start() -> OperationDocument:
            return await connection.client.train(TrainingRequest.build(strategy=name, seed=seed))

        return await _run(connection, start, detach=detach, as_json=as_json)

    run_action(action, will_work=not detach)


def backtest_strategy(name: str, detach: bool, as_json: bool) -> None:
    """Backtest a strategy and show what came of it."""

    async def action(connection: Connection) -> int:
        if detach:
            require_server(connection)

        async def start() -> OperationDocument:
            return await connection.client.backtest(BacktestRequest.build(strategy=name))

        return await _run(connection, start, detach=detach, as_json=as_json)

    run_action(action, will_work=not detach)


def sweep_strategy(name: str, options: Sequence[str], detach: bool, as_json: bool) -> None:
    """Backtest the variants of a strategy and show the best beside the stored one."""

    async def action(connection: Connection) -> int:
        if detach:
            require_server(connection)

        async def start() -> OperationDocument:
            return await connection.client.backtest(BacktestRequest.build(strategy=name, sweep=split_sweep(options)))

        return await _run(connection, start, detach=detach, as_json=as_json)

    run_action(action, will_work=not detach)


async def _stored_name(connection: Connection, file_or_name: str) -> str:
    if not file_or_name.endswith(FILE_ENDINGS):
        return file_or_name
    stored = await connection.client.add_strategy(read_strategy_file(Path(file_or_name)))
    return stored.name


async def _run(
    connection: Connection, start: Callable[[], Awaitable[OperationDocument]], *, detach: bool, as_json: bool
) -> int:
    if detach:
        return show_started(await start(), as_json)

    async def start_by_id() -> str:
        operation = await start()
        say(f"{operation.type} {operation.operation_id}")
        return operation.operation_id

    async def describe(ended: OperationDocument) -> list[str]:
        swept = sweep_of(ended)
        if swept is not None:
            return [outcome_line(ended), *sweep_lines(swept)]
        strategy = await strategy_of(connection, ended) if ended.status == "completed" else None
        found = [f"Strategy {strategy.name}: {strategy.path}", *result_lines(strategy)] if strategy else []
        return [outcome_line(ended), *found]

    return await show_followed(await start_and_follow(connection, start_by_id), describe, as_json)


async def show_followed(
    followed: Followed, describe: Callable[[OperationDocument], Awaitable[list[str]]], as_json: bool
) -> int:
    """Print an operation that was waited for, unless it goes on elsewhere; return the exit code."""
    ended = followed.operation
    if as_json:
        print_document(ended)
    elif ended.status.is_terminal:
        print_lines(await describe(ended))
    if followed.interrupted:
        return ExitCode.INTERRUPTED
    return exit_code_of_operation(ended.status, ended.error.reason if ended.error else None)


def show_started(operation: OperationDocument, as_json: bool) -> int:
    """Print what was started and is not waited for; return the exit code."""
    if as_json:
        print_document(operation)
    else:
        print_lines([operation.operation_id])
        say(f"Started. Watch it: ktrdr operations watch {operation.operation_id}")
    return ExitCode.OK
