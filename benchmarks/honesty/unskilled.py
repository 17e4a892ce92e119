"""Three ways to fool a laboratory: holding a rising market at random, copying a lucky trial, burying it in losers."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.honesty.noise import sample_bars
from benchmarks.honesty.records import DAYS_PER_YEAR, record_of
from ktrdr.backtest import baselines
from ktrdr.backtest.market_beta import measure_market_betas
from ktrdr.backtest.report import TrialHistory, TrialSharpes
from ktrdr.backtest.run import run_backtest
from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.evaluation.trial_ledger import TrialLedger
from ktrdr.evaluation.verdict import reach_verdict
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import validate_strategy
from ktrdr.training.splits import VALIDATION_PERCENT, block_bounds

LONG_SHARE = 0.7
HOLDINGS = (1, 5, 20)
"""Bars after which a random position is drawn again."""

N_COPIES, N_TRIALS, LOSING_SHARE = 5_000, 20, 0.3
_WARMUP = 50
_FREE = CostModel(0.0, 0.0, 0.0)


def market_series(folder: Path | None) -> dict[str, Bars]:
    """Return research bars of daily equity and crypto: the bundled samples, and a folder's where one is named."""
    series = {f"{symbol} 1d": bars for symbol, bars in sample_bars().items()}
    if folder is not None:
        for symbol, stem in (("GOOG", "GOOG_1d"), ("BTCUSD", "BTCUSD_1d")):
            path = folder / f"{stem}.parquet"
            if path.exists():
                series[f"{symbol} 1d"] = _daily_bars(symbol, path)
    return series


def _daily_bars(symbol: str, path: Path) -> Bars:
    frame = pl.read_parquet(path).head(round(0.8 * pl.read_parquet(path).height))  # the rest would be sealed
    stamp = frame["timestamp"].dt.epoch("ms").to_numpy()
    return Bars(
        symbol=symbol,
        timeframe=Timeframe.D1,
        snapshot="0" * 64,
        timestamp=stamp,
        known_at=stamp + 86_400_000,
        session_day=(stamp // 86_400_000).astype(np.int32),
        volume=np.full(len(stamp), np.nan),
        **{name: frame[name].to_numpy() for name in ("open", "high", "low", "close")},
    )


def count_random_longs(seed: int, bars: Bars, holding: int, *, n_draws: int) -> dict[str, object]:
    """Be long 70 % of the time at random, on test blocks and on fitted rows alike, and count the verdicts."""
    specification = _always_or_never(bars.symbol)
    bounds = block_bounds(bars.timestamp, int(bars.known_at[-1]))
    fold = np.zeros(len(bars), dtype=np.int8)
    for number in range(1, 6):
        fold[bounds[number] : bounds[number + 1]] = number
    baselines.N_RANDOM_ENTRIES = 1  # reported beside a verdict, never decisive
    rng = np.random.default_rng([seed, holding, len(bars)])
    candidates = on_net = 0
    for draw in range(n_draws):
        probability = np.where(fold > 0, _random_long(rng, len(bars), holding), np.nan)
        fitted = []
        for number in range(1, 6):
            learned = _random_long(rng, len(bars), holding)
            learned[:_WARMUP] = np.nan
            learned[bounds[number] - bounds[number] * VALIDATION_PERCENT // 100 :] = np.nan
            fitted.append(learned)
        outcome = run_backtest(specification, bars, probability, fold, _FREE, seed=draw)
        betas = measure_market_betas(specification, bars, fitted, _FREE)
        verdict = reach_verdict(outcome, betas, TrialHistory(n_trials=1), seed=draw)
        candidates += verdict.value == "candidate"
        on_net += (verdict.net.psr or 0.0) >= 0.95
    held = run_backtest(specification, bars, np.where(fold > 0, 0.9, np.nan), fold, _FREE)
    return {
        "holding": holding,
        "draws": n_draws,
        "candidates": candidates,
        "on_net_alone": on_net,
        "market_sharpe": held.report.baselines.buy_and_hold.sharpe_ratio,
    }


def _random_long(rng: np.random.Generator, n_bars: int, holding: int) -> np.ndarray:
    is_long = np.repeat(rng.random(n_bars // holding + 1) < LONG_SHARE, holding)[:n_bars]
    return np.where(is_long, 0.9, 0.1)


def _always_or_never(symbol: str) -> StrategySpecification:
    return validate_strategy(
        {
            "schema": 1,
            "name": "random_long",
            "hypothesis": "Long at random times, which is no edge.",
            "market": {"symbols": [symbol], "timeframe": "1d"},
            "indicators": {"rsi": {"type": "RSI", "timeperiod": 14}},
            "fuzzy_sets": {"rsi": {"input": "rsi", "partition": ["low", "middle", "high"]}},
            "labels": {"type": "forward_return", "horizon": 5},
            "decision": {"enter": 0.5, "exit": 0.5, "direction": "long"},
        }
    )


def count_near_copies(seed: int, *, n_searches: int, n_days: int = 900) -> dict[str, object]:
    """Twenty trials of noise, then 5,000 near-copies of the best of them: is the best copy a candidate?"""
    found = deflated = 0
    for search in range(n_searches):
        rng = np.random.default_rng([seed, search])
        spread, best = _best_copy(rng, n_days)
        history = TrialHistory(n_trials=N_TRIALS + N_COPIES, other_sharpes=spread)
        verdict = reach_verdict(record_of(best, rng.normal(0, 0.01, n_days)), [0.0] * 5, history, seed=1)
        found += verdict.value == "candidate"
        deflated += (verdict.net.dsr or 0.0) >= 0.95
    return {"searches": n_searches, "candidates": found, "deflated_by_their_own_variance": deflated}


def _best_copy(rng: np.random.Generator, n_days: int) -> tuple[TrialSharpes, np.ndarray]:
    noise = rng.normal(0, 0.01, (N_TRIALS, n_days))
    ratios = noise.mean(axis=1) / noise.std(axis=1, ddof=1)
    winner = noise[int(np.argmax(ratios))]
    best, best_ratio, copies = winner, -np.inf, np.empty(N_COPIES)
    for place in range(N_COPIES):
        # A variant trades a few days otherwise than the winner.
        copy = np.where(rng.random(n_days) < 0.02, rng.normal(0, 0.01, n_days), winner)
        copies[place] = copy.mean() / copy.std(ddof=1)
        if copies[place] > best_ratio:
            best, best_ratio = copy, copies[place]
    others = np.concatenate([ratios, np.delete(copies, int(np.argmax(copies)))])
    return _spread(others), best


def ledger_with_copies(n_copies: int) -> tuple[int, int]:
    """Write so many trials into a ledger; return how many it counts, and what a verdict on the last one is told."""
    with TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/state.sqlite")
        create_tables(database)
        ledger = TrialLedger(database, utc_now)
        for number in range(n_copies):
            ledger.open_trial(f"copy {number}", {"kind": "sweep", "number": number})
            ledger.close_trial(f"copy {number}", {"outcome": "backtested"})
        counted = ledger.count(), ledger.history(f"copy {n_copies - 1}").n_trials
        assert not ledger.verify()
        database.close()
    return counted


def count_with_losers(seed: int, *, n_draws: int, sharpe_annual: float = 1.5, years: int = 10) -> dict[str, object]:
    """Judge an edge beside 60 trials without skill, and beside the same of which 30 % lost heavily."""
    n_days, n_trials = years * DAYS_PER_YEAR, 60
    rng = np.random.default_rng([seed, 11])
    counts = {"without": [0, 0], "with": [0, 0]}
    for _ in range(n_draws):
        net = 0.01 * (rng.standard_normal(n_days) + sharpe_annual / np.sqrt(DAYS_PER_YEAR))
        outcome = record_of(net, rng.normal(0, 0.01, n_days))
        others = rng.standard_normal(n_trials - 1) / np.sqrt(n_days)
        losers = others - np.where(np.arange(len(others)) < LOSING_SHARE * len(others), 4 / np.sqrt(DAYS_PER_YEAR), 0)
        for name, ratios in (("without", others), ("with", losers)):
            history = TrialHistory(n_trials=n_trials, other_sharpes=_spread(ratios))
            verdict = reach_verdict(outcome, [0.0] * 5, history, seed=1)
            counts[name][0] += verdict.value == "candidate"
            counts[name][1] += (verdict.dsr or 0.0) >= 0.95
    return {
        "draws": n_draws,
        "sharpe": sharpe_annual,
        "years": years,
        **{f"{name}_losers": {"candidates": found, "dsr": dsr} for name, (found, dsr) in counts.items()},
    }


def _spread(ratios: np.ndarray) -> TrialSharpes:
    mean = float(ratios.mean())
    return TrialSharpes(count=len(ratios), mean=mean, squares=float(((ratios - mean) ** 2).sum()))
