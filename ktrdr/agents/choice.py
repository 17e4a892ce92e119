"""Which language model a cycle uses, decided in this one place, and the invoker that speaks to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ktrdr.agents.budget import BudgetLedger, Usage
from ktrdr.agents.invoker import AgentInvoker, AnthropicAgentInvoker, OpenAICompatibleInvoker
from ktrdr.agents.invoker_services import InvokerServices
from ktrdr.agents.offline import OFFLINE_MODEL, OfflineInvoker
from ktrdr.agents.prices import price_usd
from ktrdr.agents.task import AgentLimits
from ktrdr.clock import Clock
from ktrdr.config import AgentSettings
from ktrdr.errors import InvalidInput

DEFAULT_ALIAS = "sonnet"
ALIASES = {"opus": "claude-opus-5-5", "sonnet": "claude-sonnet-5-5", "haiku": "claude-haiku-5-5"}
Designer = Literal["claude", "offline"]
_ANTHROPIC_PREFIX, _OPENAI_PREFIX = "claude-", "openai:"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """Who designs and assesses. Calls of one that `is_paid` cost money, so its cycles need an envelope."""

    name: str
    is_paid: bool


# From what a request names, or None where it leaves the choice to the laboratory.
ModelChooser = Callable[[str | None], ChosenModel]


def model_of_designer(designer: Designer | None, model: str | None) -> str | None:
    """Return the model that somebody means who names a designer, a model, both or neither.

    Raises:
        InvalidInput: The two contradict each other.
    """
    if designer is None or (designer == OFFLINE_MODEL and model is None):
        return designer or model
    named = DEFAULT_ALIAS if model is None else model
    is_claude = ALIASES.get(named, named).startswith(_ANTHROPIC_PREFIX)
    if designer == ("claude" if is_claude else named):
        return named
    raise InvalidInput(f"designer {designer!r} is not model {model!r}: leave one of the two out")


def choose_model(asked: str | None, settings: AgentSettings) -> str:
    """Return the full name of the model for a cycle: the one asked for, or what can be had.

    Raises:
        InvalidInput: There is no such model, or no key for it (`model_unavailable`).
        PricingUnknown: Nobody knows what it costs.
    """
    if asked is None:
        asked = DEFAULT_ALIAS if settings.anthropic.api_key else OFFLINE_MODEL
    model = ALIASES.get(asked, asked)
    if model == OFFLINE_MODEL:
        return model
    if model.startswith(_ANTHROPIC_PREFIX):
        if not settings.anthropic.api_key:
            raise InvalidInput(
                f"model: {asked!r} needs a key in ANTHROPIC_API_KEY; without one there is {OFFLINE_MODEL!r}",
                reason="model_unavailable",
            )
        price_usd(model, "anthropic", Usage(1, 1, 0, 0))
        return model
    name = model.removeprefix(_OPENAI_PREFIX)
    if name in (model, ""):
        known = ", ".join([OFFLINE_MODEL, *ALIASES, "claude-…", f"{_OPENAI_PREFIX}NAME (at OPENAI_BASE_URL)"])
        raise InvalidInput(f"model: need one of {known}, was {asked!r}", reason="model_unavailable")
    if not settings.is_openai_free:
        price_usd(name, "openai", Usage(1, 1, 0, 0))
    return model


def model_chooser(settings: AgentSettings) -> ModelChooser:
    """Return what a trigger chooses with: raises as `choose_model`."""

    def choose(asked: str | None) -> ChosenModel:
        model = choose_model(asked, settings)
        is_free = model == OFFLINE_MODEL or (model.startswith(_OPENAI_PREFIX) and settings.is_openai_free)
        return ChosenModel(model, is_paid=not is_free)

    return choose


@dataclass(frozen=True, slots=True)
class InvokerChoice:
    """Makes the invoker of a model that `choose_model` returned."""

    settings: AgentSettings
    ledger: BudgetLedger
    clock: Clock

    def invoker(self, model: str) -> AgentInvoker:
        """Return who designs and assesses with this model."""
        if model == OFFLINE_MODEL:
            return OfflineInvoker(self.clock)
        settings = self.settings
        services = InvokerServices(
            ledger=self.ledger,
            clock=self.clock,
            limits=AgentLimits(
                call_s=settings.call_timeout_s,
                tool_s=settings.tool_timeout_s,
                phase_s=settings.phase_timeout_s,
                backoff_s=settings.retry_backoff_s,
                max_turns=settings.max_turns,
                max_output_tokens=settings.max_output_tokens,
            ),
        )
        if model.startswith(_OPENAI_PREFIX):
            return OpenAICompatibleInvoker(model, settings.openai, services, is_free=settings.is_openai_free)
        return AnthropicAgentInvoker(model, settings.anthropic, services)
