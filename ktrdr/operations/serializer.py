"""How DBOS stores inputs, outputs and errors: JSON that a person and another version can read, never pickle."""

import json

from dbos import Serializer

from ktrdr.errors import KtrdrError, OperationFailed

_ERROR_KEY = "ktrdr_error"

# What the engine itself raises when an awaited operation does not end well.
_ENGINE_REASONS = {
    "DBOSAwaitedWorkflowCancelledError": "cancelled",
    "DBOSAwaitedWorkflowMaxRecoveryAttemptsExceeded": "worker_lost",
}


class JsonSerializer(Serializer):
    """JSON for values; an exception becomes its reason and message and comes back as `OperationFailed`."""

    def serialize(self, data: object) -> str:
        """Return JSON text.

        Raises:
            TypeError: A value is not JSON and no exception.
            ValueError: A number is NaN or infinite.
        """
        return json.dumps(data, default=_encode_special, ensure_ascii=False, allow_nan=False)

    def deserialize(cls, serialized_data: str) -> object:
        """Return the value, or the `OperationFailed` that an exception was stored as."""
        document = json.loads(serialized_data)
        if isinstance(document, dict) and _ERROR_KEY in document:
            error = document[_ERROR_KEY]
            return OperationFailed(error["message"], reason=error["reason"])
        return document

    def name(self) -> str:
        """Return the name stored beside each value."""
        return "ktrdr_json"


def error_reason(error: BaseException) -> str:
    """Return the stable slug under which an exception is stored."""
    if isinstance(error, KtrdrError):
        return error.reason
    return _ENGINE_REASONS.get(type(error).__name__, "internal_error")


def _encode_special(value: object) -> object:
    if isinstance(value, BaseException):
        message = value.message if isinstance(value, KtrdrError) else f"{type(value).__name__}: {value}"
        return {_ERROR_KEY: {"reason": error_reason(value), "message": message}}
    raise TypeError(f"{type(value).__name__} cannot be stored on an operation")
