"""What calls of an LLM cost, from the price list of genai-prices. It works offline."""

from decimal import Decimal

from ktrdr.agents.budget import Usage
from ktrdr.errors import PricingUnknown

# What a provider adds to a request by itself: the frame around tools, the prompt that introduces them.
UNSEEN_TOKENS = 2_000


def price_usd(model: str, provider: str, usage: Usage) -> float:
    """Return what a call cost, in dollars.

    Tokens written to a cache are priced as those of a cache of five minutes; one of an hour costs more.

    Args:
        model: The model's name as it is sent.
        provider: The provider's id in the price list; always named, because several sell models of one name.
        usage: Tokens of the call.

    Raises:
        PricingUnknown: The price list has no price for the model's input or its output.
    """
    return float(_price(model, provider, usage))


def worst_case_usd(model: str, provider: str, *, request_bytes: int, max_output_tokens: int) -> float:
    """Return the most that a call can cost, in dollars, before it is made.

    A token is at least one byte, so the request cannot have more tokens than bytes. Each may be written to the cache,
    or not be: some providers charge more for the one and some for the other.

    Args:
        model: The model's name as it is sent.
        provider: The provider's id in the price list.
        request_bytes: Length of the serialized messages and tool schemas.
        max_output_tokens: The limit that is sent along.

    Raises:
        PricingUnknown: The price list has no price for the model's input or its output.
    """
    tokens = request_bytes + UNSEEN_TOKENS
    return max(
        float(_price(model, provider, Usage(tokens, max_output_tokens, 0, written_tokens)))
        for written_tokens in (0, tokens)
    )


def _price(model: str, provider: str, usage: Usage) -> Decimal:
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    tokens = PricedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        price = calc_price(tokens, model, provider_id=provider)
    except LookupError:
        raise PricingUnknown(model, provider) from None
    if price.model_price.input_mtok is None or price.model_price.output_mtok is None:
        raise PricingUnknown(model, provider)  # listed, but a part of it would count as free
    return price.total_price
