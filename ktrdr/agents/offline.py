"""The agent that needs no key and no network, behind the same interface and tools as a language model."""

from pydantic import JsonValue, TypeAdapter

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.offline_assessor import assess
from ktrdr.agents.offline_designer import design
from ktrdr.agents.task import AgentResult, AgentRun, AgentTask
from ktrdr.clock import Clock

OFFLINE_MODEL = "offline"
# Raised whenever the rules below produce another strategy or assessment from the same seed and history.
OFFLINE_VERSION = "offline-3"
_RESULT = TypeAdapter(AgentResult)


class OfflineInvoker:
    """Designs from eight families of hypotheses and assesses by stated rules; deterministic, free, instant."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def model(self) -> str:
        """Name recorded with what it makes."""
        return OFFLINE_MODEL

    @property
    def prompt_version(self) -> str:
        """Version of its rules."""
        return OFFLINE_VERSION

    async def run(self, *, task: AgentTask, tools: ToolExecutor, run: AgentRun) -> AgentResult:
        """Design or assess through the tools alone; what was saved before a crash is not made again."""

        async def work() -> JsonValue:
            result: JsonValue = _RESULT.dump_python(self._work(task, tools), mode="json")
            return result

        return _RESULT.validate_python(await run.steps.once("offline_agent", work))

    def _work(self, task: AgentTask, tools: ToolExecutor) -> AgentResult:
        started_at = self._clock()
        if task.role == "designer":
            turns = 0 if tools.saved_strategy is not None else design(task, tools)
            ok, failure = tools.saved_strategy is not None, "no_strategy"
        else:
            turns = 0 if tools.saved_assessment is not None else assess(task, tools)
            ok, failure = tools.saved_assessment is not None, "no_assessment"
        return AgentResult(
            ok=ok,
            reason="saved" if ok else failure,
            turns=turns,
            input_tokens=0,
            output_tokens=0,
            cache_read_tokens=0,
            cache_write_tokens=0,
            cost_usd=0.0,
            seconds=(self._clock() - started_at).total_seconds(),
            model=OFFLINE_MODEL,
            prompt_version=OFFLINE_VERSION,
        )
