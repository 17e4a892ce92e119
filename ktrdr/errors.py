"""Every error ktrdr raises on purpose.

KtrdrError
├── InvalidInput            somebody's file, option or request is wrong: 422, exit 2
│   ├── StrategyInvalid     a strategy file with one or more faults
│   ├── ImportRefused       a data file that cannot be read with certainty
│   └── PricingUnknown      an LLM whose price nobody knows: it is never called
├── NotFound                no such operation, strategy, market or route: 404, exit 4
├── Conflict                valid, but not in this state: 409
│   └── AmbiguousId         the beginning or end of an id, and several operations fit it
├── OperationFailed         a phase or job cannot go on; its `reason` ends up on the operation
├── BudgetExceeded          a paid call that may cost more than is left: it is not made
├── CheckpointUnusable      where a training stood, but another training, or damaged: it starts anew
├── WorkspaceUnusable       the folder or its database cannot be read or written: exit 1
│   └── ArtifactsUnavailable  the store that machines share does not answer: worth trying again for a while
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


class PricingUnknown(InvalidInput):
    """An LLM that the price list does not hold. What cannot be priced cannot be kept within a budget."""

    reason = "pricing_unknown"

    def __init__(self, model: str, provider: str) -> None:
        super().__init__(
            f"there is no known price for the model {model!r} of {provider!r}, so no budget can hold for it; "
            "choose another model, or update genai-prices"
        )
        self.model = model
        self.provider = provider


class NotFound(KtrdrError):
    """Something was named that does not exist."""

    reason = "not_found"


class Conflict(KtrdrError):
    """The request is valid but the present state forbids it. `operation_id` names what stands in the way."""

    reason = "conflict"

    def __init__(self, message: str, *, reason: str | None = None, operation_id: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.operation_id = operation_id


class AmbiguousId(Conflict):
    """Part of an id was given, and it does not tell which operation is meant. `candidates` are ids, newest first."""

    reason = "ambiguous_id"

    def __init__(self, fragment: str, candidates: Sequence[str], *, are_all: bool) -> None:
        listed = "\n  ".join([*candidates, *([] if are_all else ["…"])])
        super().__init__(f"{fragment!r} may be any of these operations; give more of the id:\n  {listed}")
        self.candidates = list(candidates)


class OperationFailed(KtrdrError):
    """An operation cannot go on; `reason` and the message are stored on it."""

    reason = "operation_failed"


class BudgetExceeded(KtrdrError):
    """A call was not made. `scope` says whose limit it would have broken: the "cycle"'s or the "day"'s.

    All amounts are dollars; `spent_usd` counts what is spent and what calls under way may still cost.
    """

    reason = "budget_exceeded"

    def __init__(self, scope: str, *, needed_usd: float, spent_usd: float, limit_usd: float) -> None:
        super().__init__(
            f"a call may cost up to ${needed_usd:.4f}, and ${spent_usd:.4f} of the {scope}'s ${limit_usd:.2f} are "
            "spent or reserved; `ktrdr agent budget` shows by what"
        )
        self.scope = scope
        self.needed_usd = needed_usd
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd


class CheckpointUnusable(KtrdrError):
    """A checkpoint of another fit, or a damaged one. The message says what differs."""

    reason = "checkpoint_unusable"


class WorkspaceUnusable(KtrdrError):
    """The workspace folder or its database cannot be read or written."""

    reason = "workspace_unusable"


class ArtifactsUnavailable(WorkspaceUnusable):
    """The store of KTRDR_ARTIFACTS_URL does not answer. `patience_s`: how long trying again is worth it."""

    reason = "artifacts_unavailable"

    def __init__(self, message: str, *, patience_s: float) -> None:
        super().__init__(message)
        self.patience_s = patience_s


class ServerUnreachable(KtrdrError):
    """An API address was given and nothing answers there."""

    reason = "api_unreachable"
