"""What the raw answers of a provider mean: tokens used, why it stopped, why it refused. Pure, no library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from ktrdr.agents.budget import Usage

# The provider says that it did not and will not do the work: nothing is billed.
DEFINITE_REJECTIONS = frozenset({400, 401, 402, 403, 404, 413, 422, 429, 529})
_BY_STATUS = {401: "auth", 403: "auth", 402: "quota_exceeded", 404: "model_not_found", 429: "rate_limited"}
_BY_STATUS[529] = "overloaded"

Document = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a whole answer says of itself.

    `usage` is None where the provider named none or zero, `failure` the slug of an ending that is no success,
    `model` what answered.
    """

    usage: Usage | None
    failure: str | None
    model: str | None


class Dialect(Protocol):
    """How one family of providers words its answers."""

    @property
    def provider(self) -> str:
        """The provider's id in the price list."""
        ...

    def read_reply(self, document: Document) -> Reply | None:
        """Return what an answer with status 200 says, or None if it is no answer of this provider."""
        ...

    def name_rejection(self, status: int, document: Document) -> str:
        """Return the slug of an answer with another status."""
        ...


class AnthropicDialect:
    """The Messages API."""

    provider = "anthropic"
    _STOPS = {  # noqa: RUF012 - never changed
        "max_tokens": "max_tokens",
        "model_context_window_exceeded": "context_window",
        "refusal": "refused",
    }

    def read_reply(self, document: Document) -> Reply | None:
        """Return usage (cached tokens counted in, which this provider does not) and the reason to stop."""
        content = document.get("content")
        if document.get("type") != "message" or not isinstance(content, list) or not _is_each_a_block(content):
            return None
        used = document.get("usage")
        if not isinstance(used, dict):  # the library cannot do without, and nobody knows the cost
            return None
        read, written = _count(used, "cache_read_input_tokens"), _count(used, "cache_creation_input_tokens")
        usage = Usage(
            input_tokens=_count(used, "input_tokens") + read + written,
            output_tokens=_count(used, "output_tokens"),
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
        return Reply(_unless_zero(usage), self._STOPS.get(str(document.get("stop_reason"))), _text(document, "model"))

    def name_rejection(self, status: int, document: Document) -> str:
        """Return the slug; an exhausted credit and an overlong prompt come as a plain 400."""
        error = _mapping(document.get("error"))
        message = (_text(error, "message") or "").casefold()
        if error.get("type") == "billing_error" or "credit balance" in message:
            return "quota_exceeded"
        if status in (400, 413) and "prompt is too long" in message:
            return "context_window"
        return _BY_STATUS.get(status, "provider_error")


class OpenAIDialect:
    """Chat completions, as OpenAI, Ollama, vLLM and llama.cpp speak them."""

    provider = "openai"
    _STOPS = {"length": "max_tokens", "content_filter": "refused"}  # noqa: RUF012 - never changed

    def read_reply(self, document: Document) -> Reply | None:
        """Return usage (cached tokens are counted in by the provider) and the reason to stop."""
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return None
        used = _mapping(document.get("usage"))
        usage = Usage(
            input_tokens=_count(used, "prompt_tokens"),
            output_tokens=_count(used, "completion_tokens"),
            cache_read_tokens=_count(_mapping(used.get("prompt_tokens_details")), "cached_tokens"),
            cache_write_tokens=0,
        )
        failure = self._STOPS.get(str(choices[0].get("finish_reason")))
        return Reply(_unless_zero(usage), failure, _text(document, "model"))

    def name_rejection(self, status: int, document: Document) -> str:
        """Return the slug; an exhausted quota comes as a 429, an overlong prompt as a 400."""
        error = _mapping(document.get("error"))
        if error.get("code") == "insufficient_quota" or error.get("type") == "insufficient_quota":
            return "quota_exceeded"
        message = (_text(error, "message") or "").casefold()
        if error.get("code") == "context_length_exceeded" or (status == 400 and "context length" in message):
            return "context_window"
        return "overloaded" if status == 503 else _BY_STATUS.get(status, "provider_error")


def _is_each_a_block(content: list[JsonValue]) -> bool:
    """Whether every block has what the library takes for granted."""
    wanted = {"text": ("text",), "tool_use": ("id", "name"), "thinking": ("thinking", "signature")}
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return False
        fields = wanted.get(str(block["type"]), ())
        if any(not isinstance(block.get(name), str) for name in fields):
            return False
        if block["type"] == "tool_use" and not isinstance(block.get("input"), dict):
            return False
    return True


def _mapping(value: JsonValue) -> Document:
    return value if isinstance(value, dict) else {}


def _text(document: Document, name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def _count(document: Document, name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _unless_zero(usage: Usage) -> Usage | None:
    return usage if usage.input_tokens or usage.output_tokens else None
