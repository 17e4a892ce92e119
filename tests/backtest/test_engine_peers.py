"""The engine against backtesting.py on plain signals, where the two agree on what is meant."""

import warnings

import numpy as np
import pandas as pd
import pytest
from test_engine import market_of, plan, summary, trade

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own imports are not ours to mend
    from backtesting import Backtest, Strategy

MICRO = 1_000_000  # backtesting.py trades whole units: a unit here is a millionth of ours
FILL_BPS = 1.2


def peer_backtest(market, chosen):
    """Let backtesting.py decide by the same probabilities and size by the same rule; return stats and trades."""
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
                (self.buy if side > 0 else self.sell)(size=units)

    bars = pd.DataFrame(
        {name.title(): getattr(market, name) / MICRO for name in ("open", "high", "low", "close")} | {"Volume": 1.0},
        index=pd.to_datetime(market.timestamp, unit="ms"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's own: deprecated pandas calls
        # Margin for twice the equity: at exposure 1 the fee is on top, for which the peer wants free money.
        return Backtest(bars, Follow, cash=100_000, commission=fee, margin=0.5).run()


@pytest.mark.parametrize(("seed", "exposure"), [(1, 1.0), (2, 0.4)])
def test_plain_signals_give_the_equity_and_the_trades_of_backtesting_py_to_the_cent(seed, exposure):
    rng = np.random.default_rng(seed)
    n_bars = 1500
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.002, n_bars)))
    open_ = np.concatenate(([1.1], close[:-1])) * np.exp(rng.normal(0, 0.001, n_bars))
    rows = np.stack([open_, np.maximum(open_, close) + 1e-3, np.minimum(open_, close) - 1e-3, close], axis=1)
    probability = np.clip(0.5 + np.convolve(rng.normal(0, 0.3, n_bars), np.ones(8) / 8, "same"), 0, 1)
    probability[:2], probability[-4:] = 0.5, 0.5  # the peer sees its first bar late, and its last close is an open
    market = market_of(rows, probability)
    chosen = plan(enter=0.55, exit=0.51, exposure=exposure)

    ours = trade(market, chosen, fill_bps=FILL_BPS)
    theirs = peer_backtest(market, chosen)

    trades = theirs["_trades"]
    assert len(trades) > 100
    assert [each[:3] for each in summary(ours)] == [
        (row.EntryBar, row.ExitBar, int(np.sign(row.Size))) for row in trades.itertuples()
    ]
    assert ours.trades["exit_price"] == pytest.approx(trades["ExitPrice"].to_numpy() * MICRO)
    assert ours.equity == pytest.approx(theirs["_equity_curve"]["Equity"].to_numpy(), abs=0.01)
