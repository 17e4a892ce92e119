"""The one interface behind which every agent stands: offline, or a language model."""

from typing import Protocol

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.task import AgentResult, AgentTask


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

    async def run(self, *, task: AgentTask, tools: ToolExecutor) -> AgentResult:
        """Work on the task until something is saved or nothing more can be done; failures are results."""
        ...
