"""What a trial tries, as the ledger keeps it."""

from pydantic import JsonValue

from ktrdr.jobs.services import LaboratoryServices
from ktrdr.market.snapshot import name_snapshots
from ktrdr.operations.work import Payload


def trial_configuration(services: LaboratoryServices, kind: str, strategy: str) -> Payload:
    """Return what a trial on a stored strategy and its bars as they are now is opened with."""
    specification = services.strategies.read(strategy)
    snapshots = {
        symbol: services.bars.research_series(symbol, specification.timeframe).snapshot
        for symbol in specification.symbols
    }
    return {
        "kind": kind,
        "strategy": strategy,
        "strategy_sha256": specification.sha256(),
        "configuration_sha256": specification.configuration_sha256(),
        "symbol": specification.symbols_text,
        "timeframe": specification.timeframe,
        "snapshot": name_snapshots(snapshots),
        "snapshots": dict[str, JsonValue](snapshots),
    }
