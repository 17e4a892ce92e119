"""What each tool does: requests to the API, and for a watch many of them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import JsonValue

from ktrdr.errors import NotFound
from ktrdr.mcp.laboratory import Laboratory
from ktrdr.mcp.shapes import (
    BudgetArguments,
    CycleArguments,
    CycleStarted,
    ListOperationsArguments,
    NoArguments,
    OperationArguments,
    PageArguments,
    RecentArguments,
    ResearchMarkets,
    SaveArguments,
    StrategyArguments,
    StrategySaved,
    ValidateArguments,
    WatchArguments,
)
from ktrdr.schemas.agent import AgentStatus, BudgetDocument, TriedStrategies, TriggerRequest
from ktrdr.schemas.indicators import IndicatorList
from ktrdr.schemas.markets import ResearchSeries
from ktrdr.schemas.operations import OperationDocument, OperationList
from ktrdr.schemas.strategies import DesignRequest, ResearchStrategy, StrategyList, ValidationReport

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One call: where its requests go, who makes it, and how it tells its progress (percent done, and of what)."""

    laboratory: Laboratory
    client_name: str
    report: Callable[[float, str], Awaitable[None]]


async def list_indicators(call: Call, _: NoArguments) -> IndicatorList:
    """Return the catalogue."""
    return await (await call.laboratory.client()).indicators()


async def list_markets(call: Call, arguments: PageArguments) -> ResearchMarkets:
    """Return a page of stored series without what is known of their sealed bars."""
    found = await (await call.laboratory.client()).markets(limit=arguments.limit, cursor=arguments.cursor)
    markets = [ResearchSeries.model_validate(series) for series in found.markets]
    return ResearchMarkets(markets=markets, next_cursor=found.next_cursor)


async def get_recent_strategies(call: Call, arguments: RecentArguments) -> TriedStrategies:
    """Return what was tried last."""
    return await (await call.laboratory.client()).agent_memory(arguments.limit)


async def validate_strategy(call: Call, arguments: ValidateArguments) -> ValidationReport:
    """Return every fault of a strategy."""
    return await (await call.laboratory.client()).validate_strategy(_text(arguments.strategy))


async def save_strategy_config(call: Call, arguments: SaveArguments) -> StrategySaved:
    """Store a strategy with who made it."""
    request = DesignRequest.build(
        strategy=arguments.strategy,
        designer=f"mcp:{arguments.designer or call.client_name}",
        parent_strategies=arguments.parent_strategies,
        notes=arguments.notes,
    )
    stored = await (await call.laboratory.client()).add_design(request)
    return StrategySaved(
        name=stored.name,
        sha256=stored.sha256,
        path=stored.path,
        next=f"trigger_cycle with strategy={stored.name!r} trains, backtests and assesses it",
    )


async def trigger_cycle(call: Call, arguments: CycleArguments) -> CycleStarted:
    """Start a cycle, and say who runs it."""
    await call.laboratory.ensure_worker()  # before anything is written: without a worker the cycle would only lie there
    connection = await call.laboratory.connection()
    accepted = await connection.client.trigger(TriggerRequest.build(**arguments.model_dump()))
    await call.laboratory.ensure_worker()
    if connection.is_embedded:
        note = (
            "A worker of this MCP server runs it (unless another one lives in the workspace), as long as the MCP "
            "client keeps the server running. If that ends first, the cycle waits where it is: the next ktrdr MCP "
            "server, worker or command that works in this workspace goes on with it. Where `ktrdr serve` runs, cycles "
            "do not depend on an MCP client."
        )
        return CycleStarted(operation_id=accepted.operation_id, runs_in="this_process", note=note)
    note = f"The server at {connection.server_url} runs it; it goes on whatever becomes of this MCP client."
    return CycleStarted(operation_id=accepted.operation_id, runs_in="server", note=note)


async def get_status(call: Call, _: NoArguments) -> AgentStatus:
    """Return what the agent does."""
    return await (await call.laboratory.client()).agent_status()


async def watch_cycle(call: Call, arguments: WatchArguments) -> OperationDocument:
    """Return an operation at its end, or as it is when the time is up."""
    operation_id = arguments.operation_id or await _cycle_of_interest(call)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + arguments.max_wait_s
    told = -1.0
    while True:
        operation = await (await call.laboratory.client()).operation(operation_id)
        # The protocol wants each to be more than the one before; the whole is told at the end, and then only.
        if operation.progress.percentage > told and (
            operation.progress.percentage < 100 or operation.status.is_terminal
        ):
            told = operation.progress.percentage
            await call.report(told, operation.progress.current_step)
        left_s = deadline - loop.time()
        if operation.status.is_terminal or left_s <= 0:
            return operation
        await call.laboratory.ensure_worker()
        await asyncio.sleep(min(_POLL_S, left_s))


async def list_operations(call: Call, arguments: ListOperationsArguments) -> OperationList:
    """Return a page of operations."""
    return await (await call.laboratory.client()).list_operations(
        type=arguments.type,
        status=arguments.status,
        parent_id=arguments.parent_id,
        limit=arguments.limit,
        cursor=arguments.cursor,
    )


async def get_operation(call: Call, arguments: OperationArguments) -> OperationDocument:
    """Return one operation."""
    return await (await call.laboratory.client()).operation(arguments.operation_id)


async def cancel_operation(call: Call, arguments: OperationArguments) -> OperationDocument:
    """Cancel an operation and its children."""
    return await (await call.laboratory.client()).cancel(arguments.operation_id)


async def list_strategies(call: Call, arguments: PageArguments) -> StrategyList:
    """Return a page of stored strategies."""
    return await (await call.laboratory.client()).strategies(limit=arguments.limit, cursor=arguments.cursor)


async def get_strategy(call: Call, arguments: StrategyArguments) -> ResearchStrategy:
    """Return one strategy with its results, but never what came of an exam: no design may grow out of that."""
    found = await (await call.laboratory.client()).strategy(arguments.name)
    return ResearchStrategy.model_validate(found.model_dump())


async def get_budget(call: Call, arguments: BudgetArguments) -> BudgetDocument:
    """Return what LLM calls cost."""
    return await (await call.laboratory.client()).agent_budget(arguments.days)


async def _cycle_of_interest(call: Call) -> str:
    status = await (await call.laboratory.client()).agent_status()
    cycle = status.operation or status.last_cycle
    if cycle is None:
        raise NotFound("there was no cycle yet; trigger_cycle starts one", reason="no_cycle")
    return cycle.operation_id


def _text(strategy: dict[str, JsonValue] | str) -> bytes:
    """Return a strategy as the text of a file: JSON is YAML."""
    return (strategy if isinstance(strategy, str) else json.dumps(strategy)).encode()
