"""What `ktrdr doctor` found. No route: half of it is about the machine that asks."""

from typing import Literal

from ktrdr.schemas.document import Document


class Finding(Document):
    """One thing that was looked at. `fix` says what to do where something is not as it should be, else null."""

    check: str
    status: Literal["ok", "warning", "broken"]
    message: str
    fix: str | None = None


class DoctorReport(Document):
    """All findings. `healthy` means that nothing is broken; there may be warnings."""

    healthy: bool
    findings: list[Finding]
