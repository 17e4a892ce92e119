"""Whether a server lives and can work."""

from typing import Literal

from pydantic import Field

from ktrdr.schemas.document import Document


class Health(Document):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str
    workspace: str | None = Field(description="null where a token is needed: who asks here showed none")


class Readiness(Document):
    """The database answers; `workers` is how many processes could take work now."""

    status: Literal["ready"] = "ready"
    workers: int
