"""Prices against figures computed by hand from the prices per million tokens (input / output) that providers publish.

claude-haiku-5-5 0.10/0.50, claude-sonnet-5-5 2/10, claude-opus-5-5 4/20; Anthropic sells a write to the five-minute
cache at 1.25 times the input price, and reads of these models' caches at 0.10, 0.05 and 0.05 times it.
"""

import pytest

from ktrdr.agents.budget import Usage
from ktrdr.agents.prices import price_usd, worst_case_usd
from ktrdr.errors import PricingUnknown

# 10,000 tokens in, of which 6,000 read from the cache and 3,000 written to it; 1,000 out. By hand:
#   haiku   1,000 x 0.1e-6 + 6,000 x 0.01e-6 + 3,000 x 0.125e-6 + 1,000 x 0.5e-6 = 0.001035
#   sonnet  1,000 x 2e-6   + 6,000 x 0.1e-6  + 3,000 x 2.5e-6   + 1,000 x 10e-6  = 0.0201
#   opus    1,000 x 4e-6   + 6,000 x 0.2e-6  + 3,000 x 5e-6     + 1,000 x 20e-6  = 0.0402
USAGE = Usage(input_tokens=10_000, output_tokens=1_000, cache_read_tokens=6_000, cache_write_tokens=3_000)


@pytest.mark.parametrize(
    ("model", "usd"), [("claude-haiku-5-5", 0.001035), ("claude-sonnet-5-5", 0.0201), ("claude-opus-5-5", 0.0402)]
)
def test_call_costs_what_it_costs_by_hand(model, usd):
    assert price_usd(model, "anthropic", USAGE) == pytest.approx(usd, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "usd"),
    [  # (8,000 bytes + 2,000) tokens at the cache-write price + 4,000 at the output price
        ("claude-haiku-5-5", 10_000 * 0.125e-6 + 4_000 * 0.5e-6),
        ("claude-sonnet-5-5", 10_000 * 2.5e-6 + 4_000 * 10e-6),
        ("claude-opus-5-5", 10_000 * 5e-6 + 4_000 * 20e-6),
    ],
)
def test_worst_case_is_every_byte_a_token_written_to_the_cache(model, usd):
    worst = worst_case_usd(model, "anthropic", request_bytes=8_000, max_output_tokens=4_000)
    assert worst == pytest.approx(usd, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-haiku-5-5", "anthropic"),  # five times dearer in the upper tier
        ("claude-sonnet-5-5", "anthropic"),
        ("gpt-4o", "openai"),  # sells no cache writes
        ("MiniMax-M2.5-highspeed", "minimax"),  # a cache write costs less than a plain token
    ],
)
@pytest.mark.parametrize("request_bytes", [10, 30_000, 600_000])
def test_no_split_of_the_tokens_costs_more_than_the_worst_case(model, provider, request_bytes):
    worst = worst_case_usd(model, provider, request_bytes=request_bytes, max_output_tokens=1_000)
    for tokens in (request_bytes // 4, request_bytes, request_bytes + 2_000):
        for read, written in ((0, 0), (tokens, 0), (0, tokens), (tokens // 2, tokens // 3)):
            assert price_usd(model, provider, Usage(tokens, 1_000, read, written)) <= worst


@pytest.mark.parametrize(
    ("model", "provider"), [("claude-nonesuch", "anthropic"), ("llama4", "ollama"), ("gpt-4o", "")]
)
def test_model_without_a_price_is_refused_by_name_before_any_call(model, provider):
    for ask in (
        lambda: price_usd(model, provider, USAGE),
        lambda: worst_case_usd(model, provider, request_bytes=10, max_output_tokens=10),
    ):
        with pytest.raises(PricingUnknown) as refused:
            ask()
        assert (refused.value.reason, refused.value.model) == ("pricing_unknown", model)
