"""What the quality report of a snapshot says, and what to do about it."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Severity(StrEnum):
    """How much a finding matters: a serious one keeps the snapshot from research until somebody accepts it."""

    SERIOUS = "serious"
    WARNING = "warning"


class Finding(BaseModel):
    """Something that the bars of a snapshot show.

    Attributes:
        kind: Stable slug.
        severity: Whether research may use the bars all the same.
        count: How many bars, holes or weeks show it.
        first: Bar at which it shows first.
        what: What was found, with figures.
        advice: What to do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    severity: Severity
    count: int = Field(ge=1)
    first: datetime
    what: str
    advice: str


class QualityReport(BaseModel):
    """Counts over the research bars, against the calendar between their first and last, and findings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bars: int = Field(ge=1)
    missing: int = Field(ge=0, description="bars that the calendar expects and the source has not")
    extra: int = Field(ge=0, description="bars outside every session")
    flat: int = Field(ge=0, description="bars whose four prices are equal")
    zero_volume: int = Field(ge=0)
    findings: tuple[Finding, ...] = ()

    @property
    def is_serious(self) -> bool:
        """Whether a finding keeps research away."""
        return any(finding.severity is Severity.SERIOUS for finding in self.findings)
