"""The one prompt that a person can pick in a client: research a hypothesis."""

from collections.abc import Mapping

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Prompt, PromptArgument, PromptMessage, TextContent

from ktrdr.agents.prompts import designer_system

RESEARCH_PROMPT = Prompt(
    name="research_hypothesis",
    title="Research a hypothesis",
    description="Design one strategy for a hypothesis, have it trained and tested, and report honestly.",
    arguments=[PromptArgument(name="hypothesis", description="What may be true of a market, and why.", required=True)],
)
_TASK = """\
Research this hypothesis with the tools of ktrdr: {hypothesis}

Call get_recent_strategies and list_markets; design ONE strategy and store it with save_strategy_config; start \
trigger_cycle with its name; call watch_cycle until it has ended; read get_strategy. Then report: what was tested, \
what came out after costs, what the gates and the assessment say, how many trials this workspace has counted, and \
what cannot be concluded. Do not tune numbers to make it pass.

The strategy language and the laboratory's rules, as its own designer is told them:

{rules}"""


def research_messages(name: str, arguments: Mapping[str, str]) -> list[PromptMessage]:
    """Return the messages of the prompt of this name.

    Raises:
        MCPError: There is no such prompt, or no hypothesis was given.
    """
    hypothesis = arguments.get("hypothesis", "").strip()
    if name != RESEARCH_PROMPT.name or not hypothesis:
        raise MCPError(INVALID_PARAMS, f"need the prompt {RESEARCH_PROMPT.name} with a `hypothesis`")
    text = _TASK.format(hypothesis=hypothesis, rules=designer_system())
    return [PromptMessage(role="user", content=TextContent(type="text", text=text))]
