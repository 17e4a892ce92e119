"""What the page is made of: the files beside a strategy and the research bars they name, as far as they are there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open

from ktrdr.backtest.report import BacktestReport, read_backtest_report
from ktrdr.errors import NotFound, OperationFailed, WorkspaceUnusable
from ktrdr.market.bars import Bars
from ktrdr.market.store import BarStore
from ktrdr.report.charts import Block, Curve
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import StrategyStore
from ktrdr.training.report import TrainingReport, read_training_report

Shapes = Mapping[str, tuple[str, tuple[float, ...]]]
_INSTANT = pl.Datetime("ms", "UTC")


@dataclass(frozen=True, slots=True, eq=False)
class ReportContents:
    """Everything that a page shows; None where the phase has not ended, or its files are unusable.

    Attributes:
        specification: The strategy.
        text: Its file as written.
        design: design.json.
        training: training.json.
        backtest: backtest.json.
        cycle: cycle.json.
        assessment: assessment.json.
        curve: Of equity.parquet.
        trades: trades.parquet.
        blocks: Test blocks of each symbol with their bars, by fold; empty where those bars are not stored any more.
        fuzzy_sets: Of the final model, fitted on the research window; those of the file before a training.
        trouble: What could not be read, and what to do about it.
    """

    specification: StrategySpecification
    text: str
    design: Mapping[str, JsonValue] | None
    training: TrainingReport | None
    backtest: BacktestReport | None
    cycle: Mapping[str, JsonValue] | None
    assessment: Mapping[str, JsonValue] | None
    curve: Curve | None
    trades: pl.DataFrame | None
    blocks: tuple[Block, ...]
    fuzzy_sets: Mapping[str, Shapes]
    trouble: tuple[str, ...]


def gather_contents(strategies: StrategyStore, bars: BarStore, name: str) -> ReportContents:
    """Read what is stored about a strategy. Sealed bars, and what came of looking at them, are never read.

    Raises:
        InvalidInput: No strategy can have this name.
        NotFound: There is none of this name.
        StrategyInvalid: Its file or a JSON document beside it was changed by hand into something invalid.
    """
    with strategies.settled():
        specification = strategies.read(name)
        folder = strategies.folder(name)
        trouble: list[str] = []
        training = backtest = curve = trades = None
        blocks: tuple[Block, ...] = ()
        try:
            if (folder / "training.json").exists():
                training = read_training_report(folder / "training.json")
            if (folder / "backtest.json").exists():
                backtest = read_backtest_report(folder / "backtest.json")
                equity, trades = _read_results(folder)
                curve = _curve(equity, backtest.window.initial_equity)
                window = backtest.window
                for symbol, snapshot in window.series_snapshots().items():
                    series = bars.load_research(symbol, window.timeframe, snapshot=snapshot)
                    blocks += _blocks(series, equity, trades)
                blocks = tuple(sorted(blocks, key=lambda block: block.fold))
        except (OperationFailed, NotFound, WorkspaceUnusable) as error:
            trouble.append(error.message)
        return ReportContents(
            specification=specification,
            text=strategies.text(name),
            design=strategies.read_json(name, "design.json"),
            training=training,
            backtest=backtest,
            cycle=strategies.read_json(name, "cycle.json"),
            assessment=strategies.read_json(name, "assessment.json"),
            curve=curve,
            trades=trades,
            blocks=blocks,
            fuzzy_sets=_fuzzy_sets(specification, folder / "model.safetensors"),
            trouble=tuple(trouble),
        )


def _read_results(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        return pl.read_parquet(folder / "equity.parquet"), pl.read_parquet(folder / "trades.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OperationFailed(
            f"the equity or the trades beside backtest.json cannot be read ({type(error).__name__}); backtest the "
            "strategy again",
            reason="backtest_unusable",
        ) from error


def _curve(equity: pl.DataFrame, initial: float) -> Curve:
    held = equity["buy_and_hold"].to_numpy() if "buy_and_hold" in equity.columns else None
    return Curve(_epoch_ms(equity["timestamp"]), equity["equity"].to_numpy(), held, initial)


def _blocks(bars: Bars, equity: pl.DataFrame, trades: pl.DataFrame) -> tuple[Block, ...]:
    prices = np.column_stack((bars.open, bars.high, bars.low, bars.close))
    blocks = []
    for fold in equity["fold"].unique().sort().to_list():
        opened = _epoch_ms(equity.filter(pl.col("fold") == fold)["timestamp"])
        first, stop = np.searchsorted(bars.timestamp, [opened[0], opened[-1] + 1])
        own = trades.filter(pl.col("fold") == fold)
        if "symbol" in own.columns:  # files of earlier versions know one symbol
            own = own.filter(pl.col("symbol") == bars.symbol)
        blocks.append(
            Block(
                fold=int(fold),
                time=bars.timestamp[first:stop],
                prices=prices[first:stop],
                is_long=(own["side"] == "long").to_numpy(),
                entry_time=_epoch_ms(own["entry_time"]),
                exit_time=_epoch_ms(own["exit_time"]),
                entry_price=own["entry_price"].to_numpy(),
                exit_price=own["exit_price"].to_numpy(),
                net=own["net"].to_numpy(),
                symbol=bars.symbol,
            )
        )
    return tuple(blocks)


def _fuzzy_sets(specification: StrategySpecification, model: Path) -> Mapping[str, Shapes]:
    # The metadata alone, not `read_model`: a server that shows pages need not load torch.
    try:
        with safe_open(model, framework="numpy") as file:
            variables = json.loads((file.metadata() or {})["ktrdr"])["encoder"]["variables"]
        return {
            each["name"]: {key: (one["shape"], tuple(one["points"])) for key, one in each["sets"].items()}
            for each in variables
        }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return {
            name: {key: (one.shape, tuple(one.points)) for key, one in each.sets.items()}
            for name, each in specification.fuzzy_sets.items()
            if each.sets is not None
        }


def _epoch_ms(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return column.cast(_INSTANT).cast(pl.Int64).to_numpy()
