"""Models of pydantic-ai whose every byte passes through a metered client."""

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from ktrdr.agents.budget import Usage
from ktrdr.agents.invoker_services import InvokerServices
from ktrdr.agents.llm.conversation import LanguageModel
from ktrdr.agents.llm.dialect import AnthropicDialect, Dialect, OpenAIDialect
from ktrdr.agents.llm.metered_client import Meter, MeteredClient, Pricing
from ktrdr.agents.prices import price_usd, worst_case_usd
from ktrdr.agents.task import AgentRun
from ktrdr.config import ProviderSettings

_FREE = Pricing(price=lambda _model, _usage: 0.0, worst_case=lambda _model, _bytes, _tokens: 0.0)
# Servers on one's own machine ask for no key, the SDK does.
_NO_KEY = "none"


def connect_anthropic(
    model: str, provider: ProviderSettings, services: InvokerServices, run: AgentRun
) -> LanguageModel:
    """Return Claude. The stable prefix (tools, instructions) and the conversation so far are cached by the provider."""
    client = MeteredClient(_meter(model, AnthropicDialect(), _listed("anthropic"), services, run))
    sdk = AsyncAnthropic(
        api_key=provider.api_key,
        base_url=provider.base_url,
        max_retries=0,  # every attempt must be ours, or it is not reserved
        http_client=client,
        open_telemetry={"traces": False},  # our own spans cover a call already
    )
    settings = AnthropicModelSettings(
        max_tokens=services.limits.max_output_tokens,
        timeout=services.limits.call_s,
        anthropic_cache_instructions=True,
        anthropic_cache_tool_definitions=True,
        anthropic_cache_messages=True,
    )
    return LanguageModel(AnthropicModel(model, provider=AnthropicProvider(anthropic_client=sdk)), client, settings)


def connect_openai(
    model: str, provider: ProviderSettings, services: InvokerServices, run: AgentRun, *, is_free: bool
) -> LanguageModel:
    """Return a model at an OpenAI-compatible endpoint; `model` is `openai:NAME`."""
    name = model.partition(":")[2]
    client = MeteredClient(_meter(name, OpenAIDialect(), _FREE if is_free else _listed("openai"), services, run))
    sdk = AsyncOpenAI(
        api_key=provider.api_key or _NO_KEY, base_url=provider.base_url, max_retries=0, http_client=client
    )
    settings = ModelSettings(max_tokens=services.limits.max_output_tokens, timeout=services.limits.call_s)
    return LanguageModel(OpenAIChatModel(name, provider=OpenAIProvider(openai_client=sdk)), client, settings)


def _meter(model: str, dialect: Dialect, pricing: Pricing, services: InvokerServices, run: AgentRun) -> Meter:
    return Meter(
        ledger=services.ledger,
        pricing=pricing,
        dialect=dialect,
        clock=services.clock,
        cycle_id=run.cycle_id,
        operation_id=run.operation_id,
        model=model,
        call_s=services.limits.call_s,
        backoff_s=services.limits.backoff_s,
    )


def _listed(provider: str) -> Pricing:
    def price(model: str, usage: Usage) -> float:
        return price_usd(model, provider, usage)

    def worst_case(model: str, request_bytes: int, max_output_tokens: int) -> float:
        return worst_case_usd(model, provider, request_bytes=request_bytes, max_output_tokens=max_output_tokens)

    return Pricing(price, worst_case)
