"""A strategy must be the one that the work on it began with. Imports little: job processes need it too."""

from ktrdr.errors import OperationFailed
from ktrdr.strategy.specification import StrategySpecification


def require_same_strategy(specification: StrategySpecification, sha256: str) -> None:
    """Return if the strategy is the one that this hash names.

    Raises:
        OperationFailed: It is another one (`strategy_changed`).
    """
    if specification.sha256() != sha256:
        raise OperationFailed(
            f"{specification.name}: strategy.yaml was changed since work on it began (it was {sha256[:12]}, it is "
            f"{specification.sha256()[:12]}); put it back, or give the changed one another name and train that",
            reason="strategy_changed",
        )
