"""What a trial tries, as the ledger keeps it."""

from ktrdr.jobs.services import LaboratoryServices
from ktrdr.operations.work import Payload


def trial_configuration(services: LaboratoryServices, kind: str, strategy: str) -> Payload:
    """Return what a trial on a stored strategy and its bars as they are now is opened with."""
    specification = services.strategies.read(strategy)
    return {
        "kind": kind,
        "strategy": strategy,
        "strategy_sha256": specification.sha256(),
        "configuration_sha256": specification.configuration_sha256(),
        "symbol": specification.symbol,
        "timeframe": specification.timeframe,
        "snapshot": services.bars.research_series(specification.symbol, specification.timeframe).snapshot,
    }
