"""One agent's work as a conversation: calls and tool runs, each a durable step, until something is saved."""

import asyncio
import logging
from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue
from pydantic_ai.exceptions import AgentRunError, UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.messages import (
    ModelMessagesTypeAdapter as _MESSAGES,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from ktrdr.agents.budget import Usage
from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.llm.metered_client import MeteredClient
from ktrdr.agents.prompts import Prompt
from ktrdr.agents.task import AgentLimits, Role, Steps
from ktrdr.agents.tool_run import run_tool
from ktrdr.agents.tool_schemas import tool_schemas
from ktrdr.agents.tools import ERROR_PREFIX, SAVE_ASSESSMENT, SAVE_STRATEGY_CONFIG
from ktrdr.errors import KtrdrError

# A faulty answer, and three attempts to repair it.
MAX_FAULTY_TURNS = 4
_SAVING = (SAVE_STRATEGY_CONFIG, SAVE_ASSESSMENT)
_NO_USAGE = Usage(0, 0, 0, 0)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model of pydantic-ai, and the metered client through which alone it speaks."""

    model: Model
    client: MeteredClient
    settings: ModelSettings


class CallOutcome(BaseModel):
    """What a call's step remembers: an answer that can go on, or why there is none."""

    response: JsonValue = None
    failure: str | None = None
    message: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0


class ToolOutcome(BaseModel):
    """What a tool's step remembers."""

    tool: str
    text: str
    saved: bool
    failed: bool


@dataclass(slots=True)
class ConversationEnd:
    """How it ended. `usage` and `cost_usd` are those of the calls whose answers are known."""

    reason: str = "saved"
    message: str = ""
    turns: int = 0
    usage: Usage = field(default=_NO_USAGE)
    cost_usd: float = 0.0


class Conversation:
    """Between steps it is a pure function of what the steps returned, so that it can be replayed after a crash."""

    def __init__(
        self, language_model: LanguageModel, tools: ToolExecutor, steps: Steps, *, role: Role, limits: AgentLimits
    ) -> None:
        self._language_model = language_model
        self._tools = tools
        self._steps = steps
        self._limits = limits
        self._role = role
        self._deadline = asyncio.get_running_loop().time() + limits.phase_s
        self._messages: list[ModelMessage] = []
        self._faulty_turns = 0
        self._end = ConversationEnd()
        self._parameters = ModelRequestParameters(
            function_tools=[
                ToolDefinition(name=name, description=description, parameters_json_schema=schema)
                for name, description, schema in tool_schemas(role)
            ]
        )

    async def run(self, prompt: Prompt) -> ConversationEnd:
        """Speak until something is saved or nothing more can be done."""
        self._messages = [
            ModelRequest(parts=[SystemPromptPart(prompt.system), UserPromptPart(prompt.user)]),
        ]
        reason: str | None = None
        while reason is None:
            reason = await self._turn()
        self._end.reason = reason
        return self._end

    async def _turn(self) -> str | None:
        """Make one call and run the tools it asks for; return why the conversation is over, None to go on."""
        if self._end.turns >= self._limits.max_turns:
            self._end.message = f"{self._limits.max_turns} turns were not enough"
            return "max_turns"
        outcome = CallOutcome.model_validate(await self._steps.once("llm_call", self._call))
        self._add(outcome)
        if outcome.failure is not None:
            self._end.message = outcome.message
            return outcome.failure
        (response,) = _MESSAGES.validate_python([outcome.response])
        assert isinstance(response, ModelResponse)
        self._messages.append(response)
        if response.state == "suspended":  # a pause: the provider goes on where it stopped when it gets this back
            return None
        if not response.tool_calls:
            self._end.message = "it ended without saving anything"
            return "no_strategy" if self._role == "designer" else "no_assessment"
        return await self._answer(response.tool_calls)

    async def _answer(self, calls: list[ToolCallPart]) -> str | None:
        parts, faulty = [], False
        for call in calls:
            outcome = ToolOutcome.model_validate(
                await self._steps.once("tool", lambda call=call: self._run_tool(call))  # type: ignore[misc]
            )
            if outcome.saved:
                return "saved"  # whatever else it asked for: one run saves one thing
            faulty = faulty or outcome.failed
            parts.append(
                ToolReturnPart(
                    tool_name=call.tool_name,
                    content=outcome.text,
                    tool_call_id=call.tool_call_id,
                    outcome="failed" if outcome.failed else "success",
                )
            )
        self._faulty_turns += faulty
        if self._faulty_turns >= MAX_FAULTY_TURNS:
            self._end.message = f"{MAX_FAULTY_TURNS} answers with faulty tool calls"
            return "invalid_tool_call"
        self._messages.append(ModelRequest(parts=parts))
        return None

    async def _call(self) -> JsonValue:
        spoken = self._language_model
        turn = self._end.turns + 1
        await self._steps.report(min(95.0, 100.0 * (turn - 1) / self._limits.max_turns), f"turn {turn}")
        spoken.client.begin_call(turn, self._deadline)
        try:
            response = await spoken.model.request(self._messages, spoken.settings, self._parameters)
        except (AgentRunError, UserError, KtrdrError) as error:
            return self._failed(error).model_dump()
        outcome = CallOutcome(response=_MESSAGES.dump_python([response], mode="json")[0])
        return self._with_usage(outcome).model_dump()

    def _failed(self, error: Exception) -> CallOutcome:
        known = self._language_model.client.call.failure
        if known is None:  # the provider's answer came, and the library cannot make sense of it
            _logger.warning("an answer could not be read: %s", type(error).__name__)
            return self._with_usage(
                CallOutcome(failure="bad_response", message="the answer cannot be read as one of a language model")
            )
        return self._with_usage(CallOutcome(failure=known.reason, message=known.message))

    def _with_usage(self, outcome: CallOutcome) -> CallOutcome:
        call = self._language_model.client.call
        usage = call.usage or _NO_USAGE
        used = {name: getattr(usage, name) for name in Usage.__slots__}
        return outcome.model_copy(update={**used, "cost_usd": call.cost_usd})

    async def _run_tool(self, call: ToolCallPart) -> JsonValue:
        text = await run_tool(self._tools, call.tool_name, call.args_as_dict(), limit_s=self._limits.tool_s)
        failed = text.startswith(ERROR_PREFIX)
        saved = call.tool_name in _SAVING and not failed
        return ToolOutcome(tool=call.tool_name, text=text, saved=saved, failed=failed).model_dump()

    def _add(self, outcome: CallOutcome) -> None:
        end, before = self._end, self._end.usage
        end.turns += 1
        end.cost_usd += outcome.cost_usd
        end.usage = Usage(**{name: getattr(before, name) + getattr(outcome, name) for name in Usage.__slots__})
