"""Every error ktrdr raises on purpose.

KtrdrError
├── InvalidInput            somebody's file, option or request is wrong: 422, exit 2
│   ├── StrategyInvalid     a strategy file with one or more faults
│   └── ImportRefused       a data file that cannot be read with certainty
├── NotFound                no such operation, strategy, market or route: 404, exit 4
├── Conflict                valid, but not in this state: 409
├── OperationFailed         a phase or job cannot go on; its `reason` ends up on the operation
├── WorkspaceUnusable       the folder or its database cannot be read or written: exit 1
└── ServerUnreachable       an API was named and does not answer: exit 3

A class earns its place when some caller treats it differently.
"""

from collections.abc import Sequence


class KtrdrError(Exception):
    """Root of the tree. `reason` is a stable slug that programs may match on."""

    reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders by pickle, which would call __init__ with args alone.
        return (_rebuild, (type(self), self.message, self.reason, self.__dict__))


def _rebuild(kind: type[KtrdrError], message: str, reason: str, state: dict[str, object]) -> KtrdrError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.message = message
    error.reason = reason
    error.__dict__.update(state)
    return error


class InvalidInput(KtrdrError):
    """A file, option or request that its author must change."""

    reason = "invalid_input"


class StrategyInvalid(InvalidInput):
    """A strategy file with faults, one message each: path, what was found, what is allowed."""

    reason = "strategy_invalid"

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class ImportRefused(InvalidInput):
    """A data file that cannot be read with certainty; the store is as it was."""

    reason = "import_refused"


class NotFound(KtrdrError):
    """Something was named that does not exist."""

    reason = "not_found"


class Conflict(KtrdrError):
    """The request is valid but the present state forbids it. `operation_id` names what stands in the way."""

    reason = "conflict"

    def __init__(self, message: str, *, reason: str | None = None, operation_id: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.operation_id = operation_id


class OperationFailed(KtrdrError):
    """An operation cannot go on; `reason` and the message are stored on it."""

    reason = "operation_failed"


class WorkspaceUnusable(KtrdrError):
    """The workspace folder or its database cannot be read or written."""

    reason = "workspace_unusable"


class ServerUnreachable(KtrdrError):
    """An API address was given and nothing answers there."""

    reason = "api_unreachable"
