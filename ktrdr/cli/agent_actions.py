"""What `ktrdr agent` does."""

from dataclasses import dataclass

from ktrdr.cli.budget_report import budget_lines, standing_line
from ktrdr.cli.cycle_report import cycle_lines, outcome_line, trace_words
from ktrdr.cli.exit_codes import ExitCode, exit_code_of_error, exit_code_of_operation
from ktrdr.cli.follow import Followed, start_and_follow
from ktrdr.cli.output import print_document, print_documents, print_lines, say
from ktrdr.cli.session import require_server, run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import InvalidInput, KtrdrError, NotFound
from ktrdr.schemas.agent import AgentStatus, TriggerRequest
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.strategies import StrategyDetail

_OFFLINE_MODEL = "offline"
_OFFLINE_NOTE = (
    "No LLM is used: the offline designer and assessor work without a key. Their designs are honest but simple. "
    "With ANTHROPIC_API_KEY set, Claude designs."
)


@dataclass(frozen=True, slots=True)
class TriggerOptions:
    """What was asked of `agent trigger`."""

    request: TriggerRequest
    until_completed: int
    detach: bool
    as_json: bool


def trigger_cycles(options: TriggerOptions) -> None:
    """Run one cycle after the other until one completes, at most as many as asked."""

    async def action(connection: Connection) -> int:
        if options.detach:
            return await _trigger_detached(connection, options)
        ended: list[OperationDocument] = []
        code, failure = int(ExitCode.OK), None
        for number in range(options.until_completed):
            try:
                followed = await _run_cycle(connection, options, number)
            except KtrdrError as error:
                failure = error
                break
            ended.append(followed.operation)
            code = await _report(connection, options, followed)
            if followed.interrupted or followed.operation.status in ("completed", "cancelled"):
                break
        if failure is not None and not ended:
            raise failure
        if options.as_json:
            _print_cycles(options, ended)
        if failure is not None:  # not raised: the one document that stdout may have is printed
            say(f"ktrdr: {failure.message}")
            return exit_code_of_error(failure)
        return code

    run_action(action, will_work=not options.detach)


def show_status(as_json: bool) -> None:
    """Show what the agent does."""

    async def action(connection: Connection) -> int:
        status = await connection.client.agent_status()
        if as_json:
            print_document(status)
        else:
            print_lines(_status_lines(status))
        return ExitCode.OK

    run_action(action)


def show_budget(days: int, as_json: bool) -> None:
    """Show what LLM calls cost and what is left of today."""

    async def action(connection: Connection) -> int:
        budget = await connection.client.agent_budget(days)
        if as_json:
            print_document(budget)
        else:
            print_lines(budget_lines(budget, days))
        return ExitCode.OK

    run_action(action)


def cancel_cycle(operation_id: str | None, as_json: bool) -> None:
    """Cancel the cycle that was named, or the only one that is active."""

    async def action(connection: Connection) -> int:
        chosen = operation_id or _only_active(await connection.client.agent_status())
        cancelled = await connection.client.cancel(chosen)
        if as_json:
            print_document(cancelled)
        else:
            print_lines([f"{cancelled.operation_id} {cancelled.status.value}"])
        return ExitCode.OK

    run_action(action)


async def _trigger_detached(connection: Connection, options: TriggerOptions) -> int:
    require_server(connection)
    accepted = await connection.client.trigger(options.request)
    if options.as_json:
        print_document(accepted)
    else:
        print_lines([accepted.operation_id])
        await _say_if_offline(connection, options.request, accepted.operation_id)
        say(f"Started. Watch it: ktrdr operations watch {accepted.operation_id}")
    return ExitCode.OK


async def _run_cycle(connection: Connection, options: TriggerOptions, number: int) -> Followed:
    request = options.request
    if request.seed is not None:
        request = request.model_copy(update={"seed": request.seed + number})
    count = f"Cycle {number + 1} of at most {options.until_completed}: " if options.until_completed > 1 else "Cycle "

    async def start() -> str:
        accepted = await connection.client.trigger(request)
        end = "Ctrl-C cancels it" if connection.is_embedded else f"at {connection.server_url}, Ctrl-C detaches"
        if number == 0:
            await _say_if_offline(connection, request, accepted.operation_id)
        say(f"{count}{accepted.operation_id} ({end})")
        return accepted.operation_id

    return await start_and_follow(connection, start)


async def _say_if_offline(connection: Connection, request: TriggerRequest, operation_id: str) -> None:
    """Say that no LLM is used where nobody asked for that."""
    if request.model is None and request.designer is None and request.strategy is None:
        cycle = await connection.client.operation(operation_id)
        if cycle.metadata.get("model") == _OFFLINE_MODEL:
            say(_OFFLINE_NOTE)


async def _report(connection: Connection, options: TriggerOptions, followed: Followed) -> int:
    cycle = followed.operation
    if cycle.status.is_terminal and not options.as_json:
        print_lines([*cycle_lines(cycle, await strategy_of(connection, cycle)), ""])
    if followed.interrupted:
        return ExitCode.INTERRUPTED
    return exit_code_of_operation(cycle.status, cycle.error.reason if cycle.error else None)


def _print_cycles(options: TriggerOptions, cycles: list[OperationDocument]) -> None:
    if options.until_completed > 1:
        print_documents(cycles)
    else:
        print_document(cycles[0])


async def strategy_of(connection: Connection, operation: OperationDocument) -> StrategyDetail | None:
    """Return the strategy that an operation is about, None where there is none (yet)."""
    name = operation.metadata.get("strategy_name")
    if not isinstance(name, str):
        return None
    try:
        return await connection.client.strategy(name)
    except (NotFound, InvalidInput):
        return None  # cancelled before it was stored, or spoilt by hand since


def _status_lines(status: AgentStatus) -> list[str]:
    lines = [] if status.active else ["idle: no cycle is active"]
    for cycle in status.active:
        step = f"{cycle.progress.percentage:.0f} %  {cycle.progress.current_step}"
        lines += [f"active: {cycle.operation_id}  {step}", f"  trace {trace_words(cycle)}"]
    if status.last_cycle is not None:
        lines += [f"last: {outcome_line(status.last_cycle)}", f"  trace {trace_words(status.last_cycle)}"]
    return [*lines, standing_line(status.budget)]


def _only_active(status: AgentStatus) -> str:
    if not status.active:
        raise NotFound("no cycle is active, so there is nothing to cancel", reason="no_active_cycle")
    if len(status.active) > 1:
        ids = ", ".join(cycle.operation_id for cycle in status.active)
        raise InvalidInput(f"several cycles are active; name one of them: {ids}")
    return status.active[0].operation_id
