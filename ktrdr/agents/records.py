"""design.json, cycle.json and assessment.json: who made a strategy, how its cycle ended, what was thought of it."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

DESIGN_FILE = "design.json"
ASSESSMENT_FILE = "assessment.json"

Judgement = Literal["promising", "mediocre", "poor"]
Remark = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=600)]
Remarks = Annotated[list[Remark], Field(max_length=12)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DesignRecord(_Record):
    """The whole of design.json.

    Tokens and cost are null until the agent's run has ended: a strategy is stored before its last turn is paid. They
    stay so, and prompt version and operation are null too, where no cycle designed it. `after_exam`: sealed bars
    of its instrument had been looked at before.
    """

    model: str
    prompt_version: str | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    parent_strategies: list[str]
    notes: str | None
    strategy_sha256: str
    operation_id: str | None
    after_exam: bool = False
    created_at: AwareDatetime


class AssessmentRecord(_Record):
    """The whole of assessment.json. Verdict, metrics and gates are copied by code; the rest is the assessor's.

    Tokens and cost are null until the agent's run has ended.
    """

    strategy_name: str
    verdict: JsonValue
    judgement: Judgement
    strengths: list[str]
    weaknesses: list[str]
    suggestions: list[str]
    metrics: dict[str, JsonValue]
    gates: list[dict[str, JsonValue]]
    model: str
    operation_id: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    created_at: AwareDatetime


class CycleRecord(_Record):
    """The whole of cycle.json: what became of a strategy between its design and its assessment.

    `reason` and `message` are null where both gates passed it or were bypassed.
    """

    operation_id: str
    reason: str | None
    message: str | None
    gates: list[dict[str, JsonValue]]
