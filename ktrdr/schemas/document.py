"""What all wire shapes share: strictness, and how a time is written."""

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationError, model_validator

from ktrdr.clock import format_time
from ktrdr.errors import InvalidInput

Timestamp = Annotated[AwareDatetime, PlainSerializer(format_time, when_used="json")]


class Document(BaseModel):
    """A body that the API answers. Fields a newer server adds are ignored by an older client."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class RequestBody(BaseModel):
    """A body that the API takes. A field it does not know is refused, never dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _refuse_nul(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, str) and "\x00" in value:  # PostgreSQL stores no text with one
                raise ValueError(f"{name}: must not hold a NUL character")
        return self

    @classmethod
    def build(cls, **values: object) -> Self:
        """Return a body of values that a user gave.

        Raises:
            InvalidInput: One of them cannot be; the message names it.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise InvalidInput("; ".join(faults)) from None
