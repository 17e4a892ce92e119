"""The one interface behind which every agent stands, and the language models behind it.

Libraries that speak to providers are imported when the first agent needs one: a worker without work starts fast.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue, TypeAdapter

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.invoker_services import InvokerServices
from ktrdr.agents.overview import OVERVIEW_DEPTH, history_overview, markets_overview
from ktrdr.agents.prompts import PROMPT_VERSION, Prompt, assessor_prompt, designer_prompt
from ktrdr.agents.task import AgentResult, AgentRun, AgentTask
from ktrdr.config import ProviderSettings
from ktrdr.errors import InvalidInput

if TYPE_CHECKING:
    from ktrdr.agents.llm.conversation import ConversationEnd, LanguageModel

_TEXTS = TypeAdapter(tuple[str, str])


class AgentInvoker(Protocol):
    """Runs one task with the given tools, and nothing else: no file, no database, no market data of its own."""

    @property
    def model(self) -> str:
        """Name of what answers, as stored beside every design and assessment."""
        ...

    @property
    def prompt_version(self) -> str:
        """Version of the instructions or rules that it follows."""
        ...

    async def run(self, *, task: AgentTask, tools: ToolExecutor, run: AgentRun) -> AgentResult:
        """Work on the task until something is saved or nothing more can be done; failures are results."""
        ...


class _LanguageModelInvoker(ABC):
    """What the two invokers share: prompt, conversation, result."""

    def __init__(self, model: str, provider: ProviderSettings, services: InvokerServices) -> None:
        self._model = model
        self._provider = provider
        self._services = services

    @property
    def model(self) -> str:
        """Name recorded with what it makes."""
        return self._model

    @property
    def prompt_version(self) -> str:
        """Version of its instructions."""
        return PROMPT_VERSION

    async def run(self, *, task: AgentTask, tools: ToolExecutor, run: AgentRun) -> AgentResult:
        """Converse until something is saved or nothing more can be done; every call and tool run is a step."""
        from ktrdr.agents.llm.conversation import Conversation

        started_at = self._services.clock()
        language_model = self._connect(run)
        try:
            conversation = Conversation(language_model, tools, run.steps, role=task.role, limits=self._services.limits)
            end = await conversation.run(await self._prompt(task, tools, run))
        finally:
            await language_model.client.aclose()
        return self._result(end, (self._services.clock() - started_at).total_seconds())

    @abstractmethod
    def _connect(self, run: AgentRun) -> "LanguageModel": ...

    async def _prompt(self, task: AgentTask, tools: ToolExecutor, run: AgentRun) -> Prompt:
        if task.role == "assessor":
            if task.context is None:
                raise InvalidInput("an assessor needs a subject: training, backtest and gates of one strategy")
            return assessor_prompt(task.context, run.spent_usd)

        async def look_around() -> JsonValue:
            markets = await asyncio.to_thread(tools.markets)
            recent = await asyncio.to_thread(tools.recent, OVERVIEW_DEPTH)
            return [markets_overview(markets), history_overview(recent)]

        # A step: what was tried by then must not change when the conversation is replayed after a crash.
        markets, recent = _TEXTS.validate_python(await run.steps.once("look_around", look_around))
        return designer_prompt(task.brief, markets, recent)

    def _result(self, end: "ConversationEnd", seconds: float) -> AgentResult:
        return AgentResult(
            ok=end.reason == "saved",
            reason=end.reason,
            turns=end.turns,
            input_tokens=end.usage.input_tokens,
            output_tokens=end.usage.output_tokens,
            cache_read_tokens=end.usage.cache_read_tokens,
            cache_write_tokens=end.usage.cache_write_tokens,
            cost_usd=end.cost_usd,
            seconds=seconds,
            model=self._model,
            prompt_version=PROMPT_VERSION,
            message=end.message,
        )


class AnthropicAgentInvoker(_LanguageModelInvoker):
    """Claude, by the Messages API."""

    def _connect(self, run: AgentRun) -> "LanguageModel":
        from ktrdr.agents.llm.connect import connect_anthropic

        return connect_anthropic(self._model, self._provider, self._services, run)


class OpenAICompatibleInvoker(_LanguageModelInvoker):
    """Any server that speaks OpenAI's chat completions: Ollama, vLLM, llama.cpp, OpenAI itself."""

    def __init__(self, model: str, provider: ProviderSettings, services: InvokerServices, *, is_free: bool) -> None:
        super().__init__(model, provider, services)
        self._is_free = is_free

    def _connect(self, run: AgentRun) -> "LanguageModel":
        from ktrdr.agents.llm.connect import connect_openai

        return connect_openai(self._model, self._provider, self._services, run, is_free=self._is_free)
