"""A whole backtest: its files are enough to recompute every figure, its bytes repeat, its inputs are checked."""

import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ktrdr.backtest.artifacts import write_backtest, write_daily_returns
from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.backtest.run import run_backtest
from ktrdr.errors import OperationFailed
from ktrdr.market.bars import Bars
from ktrdr.market.costs import CostModel
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.validation import validate_strategy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # empyrical's own imports are not ours to mend
    import empyrical

HOUR = 3_600_000
COSTS = CostModel(commission_bps=0.2, half_spread_bps=0.5, slippage_bps=0.5, financing_long=0.03, financing_short=-0.01)


def specification(*, decision=None, risk=None):
    return validate_strategy(
        {
            "schema": 1,
            "name": "rsi_reversion",
            "hypothesis": "An oversold market comes back within a day.",
            "market": {"symbols": ["EURUSD"], "timeframe": "1h"},
            "indicators": {"rsi": {"type": "RSI", "timeperiod": 14}},
            "fuzzy_sets": {"rsi": {"input": "rsi", "partition": ["low", "middle", "high"]}},
            "labels": {"type": "triple_barrier", "horizon": 24, "take_profit": 1.5, "stop_loss": 1.5},
            "decision": decision or {},
            "risk": {"stop_loss": 2.0, "take_profit": 4.0, "max_holding_bars": 48} if risk is None else risk,
        }
    )


def weekday_bars(n_bars=2000, seed=3, *, half_spread_bps=None):
    rng = np.random.default_rng(seed)
    hours = pd.date_range("2016-01-03 22:00", periods=2 * n_bars, freq="h", tz="UTC")
    hours = hours[hours.day_of_week < 5][:n_bars]
    opened = hours.as_unit("ms").asi8.astype(np.int64)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, n_bars)))
    open_ = np.concatenate(([1.1], close[:-1])) * np.exp(rng.normal(0, 0.0002, n_bars))
    return Bars(
        symbol="EURUSD",
        timeframe=Timeframe.H1,
        snapshot="0" * 64,
        timestamp=opened,
        known_at=opened + HOUR,
        session_day=(opened // (24 * HOUR)).astype(np.int32),
        open=open_,
        high=np.maximum(open_, close) * np.exp(rng.exponential(0.0005, n_bars)),
        low=np.minimum(open_, close) * np.exp(-rng.exponential(0.0005, n_bars)),
        close=close,
        volume=np.full(n_bars, np.nan),
        half_spread_bps=half_spread_bps,
    )


def signal(bars, seed=4):
    rng = np.random.default_rng(seed)
    n_bars = len(bars)
    fold = np.minimum(6 * np.arange(n_bars) // n_bars, 5).astype(np.int8)
    noise = np.convolve(rng.normal(0, 0.3, n_bars), np.ones(10) / 10, "same")
    probability = np.where(fold > 0, np.clip(0.5 + noise, 0, 1), np.nan)
    return probability, fold


@pytest.fixture(scope="module")
def outcome():
    bars = weekday_bars()
    return run_backtest(specification(), bars, *signal(bars), COSTS)


def figures_from_files(folder):
    """Recompute backtest.json's metrics from the two Parquet files alone, with pandas and empyrical."""
    files = (pl.read_parquet(folder / name).to_dict(as_series=False) for name in ("trades.parquet", "equity.parquet"))
    trades, curve = map(pd.DataFrame, files)
    initial = curve["equity"].iloc[-1] - trades["net"].sum()
    closing = curve.groupby("session_day")["equity"].last()
    returns = closing / closing.shift(fill_value=initial) - 1
    years = (curve["known_at"].iloc[-1] - curve["timestamp"].iloc[0]) / pd.Timedelta(days=365.25)
    days_per_year = len(closing) / years
    marks = pd.concat([pd.Series([initial]), curve["equity"]])
    drawdown = -empyrical.max_drawdown(marks.pct_change().dropna())
    growth = (marks.iloc[-1] / initial) ** (1 / years) - 1
    notional = trades["quantity"] * (trades["entry_price"] + trades["exit_price"])
    invested = trades["quantity"] * trades["entry_price"] / trades["entry_equity"]
    wins, losses = trades["net"].clip(lower=0).sum(), -trades["net"].clip(upper=0).sum()
    return {
        "sharpe_ratio": empyrical.sharpe_ratio(returns, annualization=days_per_year),
        "sortino_ratio": empyrical.sortino_ratio(returns, annualization=days_per_year),
        "max_drawdown": drawdown,
        "total_return": marks.iloc[-1] / initial - 1,
        "cagr": growth,
        "calmar_ratio": growth / drawdown,
        "win_rate": (trades["net"] > 0).mean(),
        "profit_factor": wins / losses,
        "n_trades": len(trades),
        "exposure": (invested * trades["bars_held"]).sum() / len(curve),
        "turnover": (notional / trades["entry_equity"]).sum() / years,
        "costs_paid": (trades["costs"] + trades["financing"]).sum() / initial,
        "days_per_year": days_per_year,
    }


def test_every_figure_can_be_recomputed_from_the_two_parquet_files(outcome, tmp_path):
    write_backtest(tmp_path, outcome)
    document = json.loads((tmp_path / "backtest.json").read_bytes())
    metrics = document["metrics"]
    low, high = metrics.pop("sharpe_ci95")
    assert low < metrics["sharpe_ratio"] < high
    assert document["verdict"] is None
    assert metrics == pytest.approx(figures_from_files(tmp_path), rel=1e-9)
    held = pl.read_parquet(tmp_path / "equity.parquet")["buy_and_hold"]
    assert held[-1] / INITIAL_EQUITY - 1 == pytest.approx(document["baselines"]["buy_and_hold"]["total_return"])
    assert metrics["n_trades"] > 50
    assert 0 < metrics["exposure"] <= 1


def test_trades_explain_the_equity_to_the_cent_and_name_what_they_did(outcome, tmp_path):
    write_backtest(tmp_path, outcome)
    trades, curve = pl.read_parquet(tmp_path / "trades.parquet"), pl.read_parquet(tmp_path / "equity.parquet")
    assert curve["equity"][-1] == pytest.approx(INITIAL_EQUITY + trades["net"].sum(), abs=1e-6)
    sign = trades["side"].replace_strict({"long": 1, "short": -1})
    gross = sign * trades["quantity"] * (trades["exit_price"] - trades["entry_price"])
    assert (gross - trades["costs"] - trades["financing"]).to_numpy() == pytest.approx(trades["net"].to_numpy())
    fees = trades["quantity"] * (trades["entry_price"] + trades["exit_price"]) * 1.2e-4
    assert trades["costs"].to_numpy() == pytest.approx(fees.to_numpy())
    equity_after = INITIAL_EQUITY + trades["net"].cum_sum()
    assert trades["entry_equity"][1:].to_numpy() == pytest.approx(equity_after[:-1].to_numpy())
    assert set(trades["reason"]) == {"signal", "stop", "target", "fold_end"}
    assert (trades["entry_time"] < trades["exit_time"]).all()
    at_fold_ends = curve.group_by("fold", maintain_order=True).last()
    assert at_fold_ends["fold"].to_list() == [1, 2, 3, 4, 5]
    assert (at_fold_ends["position"] == 0).all()


def test_equal_backtests_give_equal_bytes(outcome, tmp_path):
    bars = weekday_bars()
    again = run_backtest(specification(), bars, *signal(bars), COSTS)
    for name, each in (("one", outcome), ("two", again)):
        write_backtest(tmp_path / name, each)
        write_daily_returns(tmp_path / name / "daily_returns.parquet", each)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["backtest.json", "daily_returns.parquet", "equity.parquet", "trades.parquet"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_daily_returns_for_the_ledger_compound_to_the_total_return(outcome, tmp_path):
    write_daily_returns(tmp_path / "daily_returns.parquet", outcome)
    daily = pl.read_parquet(tmp_path / "daily_returns.parquet")
    assert daily.schema == {"session_day": pl.Date, "net_return": pl.Float64}
    assert daily.height == outcome.report.window.n_session_days
    assert (1 + daily["net_return"]).product() - 1 == pytest.approx(outcome.report.metrics.total_return)


def test_window_and_costs_say_what_was_traded(outcome):
    bars = weekday_bars()
    _, fold = signal(bars)
    window = outcome.report.window
    assert window.first.timestamp() * 1000 == bars.timestamp[fold > 0][0]
    assert window.last.timestamp() * 1000 == bars.timestamp[-1]
    assert (window.n_bars, window.n_folds, window.symbol, window.timeframe) == ((fold > 0).sum(), 5, "EURUSD", "1h")
    costs = outcome.report.costs
    assert (costs.half_spread_bps, costs.half_spread_from, costs.financing_long) == (0.5, "instrument", 0.03)


def test_without_a_trade_the_ratios_are_null_and_the_rest_is_zero():
    bars = weekday_bars(900)
    _, fold = signal(bars)
    calm = np.where(fold > 0, 0.5, np.nan)
    metrics = run_backtest(specification(), bars, calm, fold, COSTS).report.metrics.model_dump()
    days_per_year = metrics.pop("days_per_year")
    nulls = {"sharpe_ratio", "sharpe_ci95", "sortino_ratio", "calmar_ratio", "win_rate", "profit_factor"}
    assert {name for name, value in metrics.items() if value is None} == nulls
    assert all(metrics[name] == 0 for name in metrics.keys() - nulls)
    assert 240 < days_per_year < 290  # a working week, seen through a window of five or six of them


def test_a_column_of_half_spreads_wins_over_the_instrument():
    spreads = np.linspace(1, 3, 900)
    bars = weekday_bars(900, half_spread_bps=spreads)
    probability, fold = signal(bars)
    outcome = run_backtest(specification(), bars, probability, fold, COSTS)
    row = {int(time): index for index, time in enumerate(bars.timestamp)}
    entered = outcome.trades.entry_time
    left = [index for index in range(len(entered)) if int(outcome.trades.exit_time[index]) in row]
    at_open = np.array([each for each in left if outcome.trades.reason[each] == 1])
    notional = outcome.trades.quantity[at_open]
    bps_in = 0.7 + spreads[[row[int(entered[each])] for each in at_open]]
    bps_out = 0.7 + spreads[[row[int(outcome.trades.exit_time[each])] for each in at_open]]
    expected = notional * (outcome.trades.entry_price[at_open] * bps_in + outcome.trades.exit_price[at_open] * bps_out)
    assert len(at_open) > 5
    assert outcome.trades.costs[at_open] == pytest.approx(expected / 10_000)
    assert outcome.report.costs.half_spread_from == "bars"
    assert outcome.report.costs.half_spread_bps == pytest.approx(spreads[fold > 0].mean())


def test_what_follows_a_bar_changes_nothing_before_it():
    bars = weekday_bars()
    probability, fold = signal(bars)
    whole = run_backtest(specification(), bars, probability, fold, COSTS)
    cut = len(bars) - 150
    part = run_backtest(specification(), bars.slice(0, cut), probability[:cut], fold[:cut], COSTS)
    earlier = len(part.equity) - 1  # the last bar of the part closes its position: its fold ends there
    assert np.array_equal(part.equity.equity[:earlier], whole.equity.equity[:earlier])
    assert np.array_equal(part.trades.net[:-1], whole.trades.net[: len(part.trades) - 1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda bars, p, fold: (bars, np.where(np.arange(len(p)) == 1500, np.nan, p), fold), "prediction_missing"),
        (lambda bars, p, fold: (bars, np.where(np.arange(len(p)) == 1500, 1.2, p), fold), "prediction_missing"),
        (lambda bars, p, fold: (bars, p, np.zeros_like(fold)), "no_test_bars"),
        (lambda bars, p, fold: (bars, p, np.where(np.arange(len(p)) < 1995, 0, fold)), "too_few_days"),
        (lambda bars, p, fold: (bars, np.full(len(p), 0.5), fold + 1), "indicator_not_finite"),
        (
            lambda bars, p, fold: (
                dataclasses.replace(bars, half_spread_bps=np.full(len(p), np.nan)),
                p,
                fold,
            ),
            "half_spread_missing",
        ),
        (lambda bars, p, fold: (dataclasses.replace(bars, low=bars.low * 0), p, fold), "price_unusable"),
    ],
)
def test_an_input_that_cannot_be_traded_is_an_error_and_never_a_hold(change, reason):
    bars = weekday_bars()
    with pytest.raises(OperationFailed) as failure:
        run_backtest(specification(), *change(bars, *signal(bars)), COSTS)
    assert failure.value.reason == reason


@pytest.mark.parametrize(
    "change", [lambda fold: fold[:-1], lambda fold: fold[::-1], lambda fold: np.tile(fold[:1000], 2)]
)
def test_folds_out_of_order_or_of_another_length_are_refused(change):
    bars = weekday_bars()
    probability, fold = signal(bars)
    with pytest.raises(ValueError, match="need"):
        run_backtest(specification(), bars, probability, change(fold), COSTS)


def volatility_sized(**changes):
    sizing = {"type": "volatility_target", "annual_volatility": 0.05, "lookback": 40, "max_exposure": 0.6}
    return specification(risk={"stop_loss": 2.0, "take_profit": 4.0, "sizing": sizing | changes})


def bars_calm_then_wild():
    bars = weekday_bars()
    amplitude = np.where(np.arange(len(bars)) // 250 % 2, 2.0, 0.4)  # in turns far below and far above the target
    close = 1.1 * np.exp(np.cumsum(np.diff(np.log(bars.close), prepend=np.log(1.1)) * amplitude))
    ratio = close / bars.close
    return dataclasses.replace(bars, open=bars.open * ratio, high=bars.high * ratio, low=bars.low * ratio, close=close)


def test_a_volatility_target_sizes_every_entry_by_what_its_decision_knew():
    bars = bars_calm_then_wild()
    outcome = run_backtest(volatility_sized(), bars, *signal(bars), COSTS)
    trades = outcome.trades
    squares = pd.Series(bars.close).pct_change() ** 2
    years = (bars.known_at - bars.known_at[0]) / (365.25 * 24 * HOUR)
    decided = np.searchsorted(bars.timestamp, trades.entry_time) - 1
    volatility = np.sqrt(squares.rolling(40).mean().to_numpy()[decided] * decided / years[decided])
    expected = np.minimum(0.6, 0.05 / volatility)
    assert trades.quantity * trades.entry_price / trades.entry_equity == pytest.approx(expected, rel=1e-9)
    assert 5 < (expected == 0.6).sum() < len(trades) - 30
    assert INITIAL_EQUITY + trades.net.sum() == pytest.approx(outcome.equity.equity[-1], abs=1e-6)
    # Who holds the market holds it whole, and random entries scale with the target.
    fixed = run_backtest(specification(), bars, *signal(bars), COSTS)
    assert np.array_equal(outcome.buy_and_hold.equity, fixed.buy_and_hold.equity)
    halved = run_backtest(volatility_sized(annual_volatility=0.025, max_exposure=0.3), bars, *signal(bars), COSTS)
    means = [each.report.baselines.random_entry.total_return_mean for each in (outcome, halved)]
    assert means[1] == pytest.approx(means[0] / 2, rel=0.05)


def test_the_future_changes_no_size_and_a_volatility_not_known_yet_is_refused():
    bars = bars_calm_then_wild()
    probability, fold = signal(bars)
    whole = run_backtest(volatility_sized(), bars, probability, fold, COSTS)
    cut = len(bars) - 150
    part = run_backtest(volatility_sized(), bars.slice(0, cut), probability[:cut], fold[:cut], COSTS)
    assert np.array_equal(part.equity.equity[:-1], whole.equity.equity[: len(part.equity) - 1])
    assert np.array_equal(part.trades.quantity[:-1], whole.trades.quantity[: len(part.trades) - 1])
    with pytest.raises(OperationFailed, match=r"use a shorter one or a longer history") as failure:
        run_backtest(volatility_sized(lookback=400), bars, probability, fold, COSTS)
    assert failure.value.reason == "too_few_bars"


def test_where_nothing_moves_the_maximum_bounds_the_exposure():
    bars = weekday_bars(900)
    _, fold = signal(bars)
    flat = np.ones(900)
    still = dataclasses.replace(bars, open=flat, high=flat * 1.01, low=flat * 0.99, close=flat)
    outcome = run_backtest(volatility_sized(), still, np.where(fold > 0, 0.9, np.nan), fold, COSTS)
    assert len(outcome.trades) >= 5
    assert outcome.trades.quantity == pytest.approx(0.6 * outcome.trades.entry_equity)
