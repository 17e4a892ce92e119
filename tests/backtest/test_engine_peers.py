"""The engine against backtesting.py and vectorbt on real bars; `docs/parity.md` says what the peers mean otherwise."""

import math
import warnings
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
import polars as pl
import pytest
from test_engine import market_of, plan, summary, trade

from benchmarks.peers import INTERPRETER, PeerProcess, peer_command
from ktrdr.indicators.compute import average_true_range

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own imports are not ours to mend
    from backtesting import Backtest, Strategy

SERIES = ("EURUSD_1h_2017_ask_volume", "SPX_1d", "MSFT_1d_adj")
MICRO = 1_000_000  # backtesting.py trades whole units: a unit here is a millionth of ours
FILL_BPS = 1.2
STOP, TARGET = 1.5, 2.5


@cache
def real_market(series, n_bars=None):
    """Return the last bars of a bundled series with the probability of a crossing of averages, smooth in between."""
    frame = pl.read_parquet(str(files("ktrdr.market") / "bundled" / f"{series}.parquet"))
    prices = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close")}
    atr = average_true_range(prices, 14)
    close = prices["close"]
    fast, slow = (np.convolve(close, np.ones(n) / n, "full")[: len(close)] for n in (4, 16))
    probability = np.clip(0.5 + 0.1 * (fast - slow) / np.nan_to_num(atr, nan=math.inf), 0, 1)
    last = slice(None if n_bars is None else -n_bars, None)
    market = market_of(np.stack(list(prices.values()), axis=1)[last], probability[last], atr=np.nan_to_num(atr)[last])
    # backtesting.py sees its first bar late and refuses a stop that the last close is already beyond; the last close
    # is an open to it, and to vectorbt no reason to leave.
    gap = np.abs(np.append(market.open[1:], market.close[-1]) - market.close)
    market.probability[gap > 0.9 * STOP * market.atr] = 0.5
    market.probability[:40], market.probability[-4:] = 0.5, 0.5
    return market


def peer_backtest(market, chosen):
    """Let backtesting.py decide by the same probabilities and size by the same rule; return stats and trades.

    Its stops are prices that an order names before it fills: here they are told the open to come, which ours are
    measured from.
    """
    fee = FILL_BPS / 10_000

    class Follow(Strategy):
        def init(self):
            pass

        def next(self):
            bar = len(self.data) - 1
            if bar + 1 == len(market.close):
                return
            p, held = market.probability[bar], self.position.size
            next_open = market.open[bar + 1] / MICRO
            leaves = bool(held) and (p if held > 0 else 1 - p) < chosen.exit
            if leaves:
                self.position.close()
            side = 1 if p >= chosen.enter else -1 if 1 - p >= chosen.enter else 0
            if side and (not held or (leaves and side * held < 0)):
                at_fill = self.equity + held * (next_open - self.data.Close[-1]) - abs(held) * next_open * fee
                units = round(chosen.exposure * at_fill / next_open)
                reach = side * market.atr[bar] / MICRO
                levels = {} if chosen.stop_loss is None else {"sl": next_open - chosen.stop_loss * reach}
                levels |= {} if chosen.take_profit is None else {"tp": next_open + chosen.take_profit * reach}
                (self.buy if side > 0 else self.sell)(size=units, **levels)

    bars = pd.DataFrame(
        {name.title(): getattr(market, name) / MICRO for name in ("open", "high", "low", "close")} | {"Volume": 1.0},
        index=pd.to_datetime(market.timestamp, unit="ms"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's own: deprecated pandas calls
        # Margin for twice the equity: at exposure 1 the fee is on top, for which the peer wants free money.
        return Backtest(bars, Follow, cash=100_000, commission=fee, margin=0.5).run()


@pytest.mark.parametrize("exposure", [1.0, 0.4])
@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize(("stop_loss", "take_profit"), [(None, None), (STOP, TARGET)])
def test_trades_and_equity_are_those_of_backtesting_py_to_the_cent(series, stop_loss, take_profit, exposure):
    market = real_market(series)
    chosen = plan(enter=0.55, exit=0.51, exposure=exposure, stop_loss=stop_loss, take_profit=take_profit)

    ours = trade(market, chosen, fill_bps=FILL_BPS)
    theirs = peer_backtest(market, chosen)

    trades = theirs["_trades"]
    reasons = {reason for *_, reason in summary(ours)}
    assert len(trades) > 100
    assert reasons == ({"signal"} if stop_loss is None else {"signal", "stop", "target"})
    assert [each[:3] for each in summary(ours)] == [
        (row.EntryBar, row.ExitBar, int(np.sign(row.Size))) for row in trades.sort_values("ExitBar").itertuples()
    ]
    assert ours.trades["exit_price"] == pytest.approx(trades["ExitPrice"].to_numpy() * MICRO)
    assert ours.equity == pytest.approx(theirs["_equity_curve"]["Equity"].to_numpy(), abs=0.01)


@pytest.mark.skipif(not INTERPRETER.exists(), reason="vectorbt is absent; `make .venv-peers/.made` installs it")
def test_trades_and_equity_are_those_of_vectorbt_to_the_cent(tmp_path):
    chosen = [(real_market(series, 3000), way) for series in SERIES for way in ("both", "long", "short")]
    fee = FILL_BPS / 10_000
    columns = [vectorbt_signals(market, way) for market, way in chosen]
    for name in columns[0]:
        np.save(tmp_path / f"{name}.npy", np.stack([column[name] for column in columns], axis=1))
    np.save(tmp_path / "fees.npy", np.array(fee))

    peer = PeerProcess(peer_command("vectorbt-results", tmp_path))
    assert peer.ask()["counted"] > 1000
    peer.close()

    trades, equity = np.load(tmp_path / "found_trades.npy"), np.load(tmp_path / "found_equity.npy")
    for column, (market, way) in enumerate(chosen):
        # All its cash goes into a position, the fee included.
        ours = trade(market, plan(enter=0.55, exit=0.51, exposure=1 / (1 + fee), direction=way), fill_bps=FILL_BPS)
        theirs = trades[trades["col"] == column]
        for own, name in (("entry_bar", "entry_idx"), ("exit_bar", "exit_idx")):
            assert ours.trades[own].tolist() == theirs[name].tolist()
        assert ours.trades["side"].tolist() == np.where(theirs["direction"] == 0, 1, -1).tolist()
        assert ours.trades["net"] == pytest.approx(theirs["pnl"], abs=0.01)
        assert ours.equity == pytest.approx(equity[:, column], abs=0.01)


def vectorbt_signals(market, way):
    """Return prices and signals as vectorbt takes them: what a close decides fills at the next open."""
    known = np.concatenate(([0.5], market.probability[:-1]))
    against = 1 - known if way == "both" else known
    nothing = np.zeros(len(known), dtype=bool)
    return {
        "open": market.open,
        "close": market.close,
        "entries": nothing if way == "short" else known >= 0.55,
        "exits": nothing if way == "short" else known < 0.51,
        "short_entries": nothing if way == "long" else against >= 0.55,
        "short_exits": nothing if way == "long" else against < 0.51,
    }
