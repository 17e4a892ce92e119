"""What a training left to be judged: its predictions, on the bars that they were made of."""

from ktrdr.backtest.market_beta import FittedSeries
from ktrdr.backtest.portfolio import TradedSeries
from ktrdr.jobs.stores import WorkspaceStores
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.predictions import read_all_predictions
from ktrdr.training.report import TrainingReport


def read_evidence(
    stores: WorkspaceStores, specification: StrategySpecification, training: TrainingReport
) -> tuple[list[TradedSeries], list[FittedSeries]]:
    """Return the test blocks and the rows that the networks were fitted on, of each symbol.

    The bars are of the snapshots that the training saw, whatever was imported since.
    """
    folder, timeframe = stores.strategies.folder(specification.name), specification.timeframe
    series = [
        stores.bars.load_research(symbol, timeframe, snapshot=training.snapshot_of(symbol))
        for symbol in specification.symbols
    ]
    costs = [stores.bars.series(symbol, timeframe).costs for symbol in specification.symbols]
    judged = read_all_predictions(folder / "predictions.parquet", series)
    learned = read_all_predictions(folder / "fitted_predictions.parquet", series)
    return (
        [
            TradedSeries(bars, *found.by_bar(len(bars)), cost)
            for bars, found, cost in zip(series, judged, costs, strict=True)
        ],
        [
            FittedSeries(bars, found.of_folds(len(bars)), cost)
            for bars, found, cost in zip(series, learned, costs, strict=True)
        ],
    )
