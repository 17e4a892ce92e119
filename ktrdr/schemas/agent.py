"""The research agent on the wire: starting cycles, and what is going on."""

from typing import Literal

from pydantic import Field

from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.operations import OperationDocument

MAX_BRIEF_CHARACTERS = 8_000
MAX_SEED = 2**32 - 1


class TriggerRequest(RequestBody):
    """What one research cycle is asked to do; everything is optional."""

    brief: str | None = Field(default=None, max_length=MAX_BRIEF_CHARACTERS, description="what to look for, in words")
    model: str | None = Field(default=None, max_length=200, description="which LLM designs; none: the default")
    strategy: str | None = Field(default=None, max_length=64, description="a stored strategy: skips the design phase")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="none: chosen from what was tried so far")
    bypass_gates: bool = Field(default=False, description="go on past a refusing gate; recorded on the operation")


class TriggerAccepted(Document):
    """A cycle was started."""

    triggered: Literal[True] = True
    operation_id: str


class TriggerRefused(Document):
    """No cycle was started, for now: `active_cycle_exists` or `budget_exhausted`."""

    triggered: Literal[False] = False
    reason: str
    operation_id: str | None = Field(default=None, description="what stands in the way, where something does")


class AgentStatus(Document):
    """What the agent does now, and the cycle that ended last."""

    status: Literal["active", "idle"]
    operation: OperationDocument | None = Field(description="the cycle that has been running longest")
    active: list[OperationDocument]
    last_cycle: OperationDocument | None
    budget: None = Field(default=None, description="null: this version calls no LLM, so there is nothing to spend")
