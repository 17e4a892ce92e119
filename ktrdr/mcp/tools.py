"""The tools that an MCP client is offered: names, words, shapes, and what each may change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_types import Tool as ToolDescription
from mcp_types import ToolAnnotations

from ktrdr.mcp import calls, shapes
from ktrdr.schemas.agent import AgentStatus, BudgetDocument, TriedStrategies
from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.indicators import IndicatorList
from ktrdr.schemas.operations import OperationDocument, OperationList
from ktrdr.schemas.strategies import ResearchStrategy, StrategyList, ValidationReport

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
# A cycle may ask a language model, for money.
_SPENDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `run` is called with a `Call` and the parsed arguments, and returns an `answer`."""

    title: str
    description: str
    arguments: type[RequestBody]
    answer: type[Document]
    annotations: ToolAnnotations
    run: Callable[[calls.Call, Any], Awaitable[Document]]

    @property
    def name(self) -> str:
        """The name that a client calls it by."""
        return self.run.__name__

    def describe(self) -> ToolDescription:
        """Return the tool as the protocol lists it."""
        taken = self.arguments.model_json_schema()
        taken.pop("description", None)
        return ToolDescription(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=taken,
            output_schema=self.answer.model_json_schema(mode="serialization"),
            annotations=self.annotations,
        )


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "List indicators",
            "All indicators that a strategy may use, with meanings, units and the ranges of their parameters.",
            shapes.NoArguments,
            IndicatorList,
            _READS,
            calls.list_indicators,
        ),
        Tool(
            "List markets",
            "Stored markets: how many bars research may see, from when to when, and what trading them costs (basis "
            "points per side).",
            shapes.PageArguments,
            shapes.ResearchMarkets,
            _READS,
            calls.list_markets,
        ),
        Tool(
            "Recent strategies",
            "What was tried before and how it ended, newest first. Look here before designing: every further trial "
            "raises the bar for all, and near-copies are refused.",
            shapes.RecentArguments,
            TriedStrategies,
            _READS,
            calls.get_recent_strategies,
        ),
        Tool(
            "Validate a strategy",
            "Check a strategy without storing it; answers with every fault at once. save_strategy_config checks too.",
            shapes.ValidateArguments,
            ValidationReport,
            _READS,
            calls.validate_strategy,
        ),
        Tool(
            "Save a strategy",
            "Store a strategy that you designed. A fault, a near-copy of a stored one or a used name is refused with "
            "what to change. It is then trained and tested by trigger_cycle with `strategy`.",
            shapes.SaveArguments,
            shapes.StrategySaved,
            _ADDS,
            calls.save_strategy_config,
        ),
        Tool(
            "Start a research cycle",
            "Design (unless `strategy` names a stored one), train, judge, backtest out of sample, judge again, assess. "
            "Answers at once with the operation's id; watch_cycle waits for it. Offline it takes seconds and costs "
            "nothing; with an LLM it costs money, within the budget of get_budget.",
            shapes.CycleArguments,
            shapes.CycleStarted,
            _SPENDS,
            calls.trigger_cycle,
        ),
        Tool(
            "Status",
            "The active cycle, the one that ended last, and where today's budget stands.",
            shapes.NoArguments,
            AgentStatus,
            _READS,
            calls.get_status,
        ),
        Tool(
            "Watch a cycle",
            "Wait until a cycle (or another operation) has ended, for a bounded time, with progress notifications. If "
            "its status is still pending or running, call again.",
            shapes.WatchArguments,
            OperationDocument,
            _READS,
            calls.watch_cycle,
        ),
        Tool(
            "List operations",
            "Everything that runs or ran, newest first; with parent_id the phases of one cycle.",
            shapes.ListOperationsArguments,
            OperationList,
            _READS,
            calls.list_operations,
        ),
        Tool(
            "Show an operation",
            "One operation: status, progress, gates, result, or why it failed.",
            shapes.OperationArguments,
            OperationDocument,
            _READS,
            calls.get_operation,
        ),
        Tool(
            "Cancel an operation",
            "End an operation and its phases now. Twice is fine; what has ended by itself stays as it is.",
            shapes.OperationArguments,
            OperationDocument,
            _ENDS,
            calls.cancel_operation,
        ),
        Tool(
            "List strategies",
            "Stored strategies with their verdicts and main figures, newest first.",
            shapes.PageArguments,
            StrategyList,
            _READS,
            calls.list_strategies,
        ),
        Tool(
            "Show a strategy",
            "One strategy whole: specification, who designed it, training, backtest, assessment; null what has not "
            "been done. n_trials says how many were tried in this workspace: the more, the less the best one means.",
            shapes.StrategyArguments,
            ResearchStrategy,
            _READS,
            calls.get_strategy,
        ),
        Tool(
            "Budget",
            "What LLM calls cost by day, model and operation, and what is left of today's budget in dollars.",
            shapes.BudgetArguments,
            BudgetDocument,
            _READS,
            calls.get_budget,
        ),
    )
}
