"""Errors on the wire: RFC 9457 problem documents."""

from pydantic import ConfigDict

from ktrdr.schemas.document import Document


class Problem(Document):
    """What went wrong. `reason` is a stable slug that programs may match on; further members may follow."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "about:blank"
    title: str
    status: int | None
    detail: str
    reason: str
    instance: str | None = None
