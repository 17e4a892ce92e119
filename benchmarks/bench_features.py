"""Indicators beside TA-Lib alone, fuzzification beside scikit-fuzzy: `python -m benchmarks.bench_features [ROUNDS]`."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import talib
from numpy.typing import NDArray

from benchmarks.peers import ABSENT, PeerProcess, is_installed, peer_command
from benchmarks.side_by_side import ROUNDS, Row, cheaper, faster, not_measured, show, take_turns, timed
from ktrdr.fuzzy.shape import Shape
from ktrdr.fuzzy.variable import FuzzyVariable
from ktrdr.indicators.compute import compute_indicator

N_BARS, N_INPUTS, N_SETS = 50_000, 7, 3
SIX: dict[str, dict[str, float]] = {
    "RSI": {"timeperiod": 14},
    "MACD": {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9},
    "BBANDS": {"timeperiod": 20, "nbdevup": 2.0, "nbdevdn": 2.0},
    "ATR": {"timeperiod": 14},
    "ADX": {"timeperiod": 14},
    "EMA": {"timeperiod": 20},
}
FUZZY_ROW = "fuzzification, 7 inputs of 3 triangles, 50k bars"


def bench_indicators(rounds: int) -> Row:
    """RSI, MACD, BBANDS, ATR, ADX and EMA; ours checks its inputs and outputs and marks the warm-up."""
    rng = np.random.default_rng(3)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, N_BARS)))
    high, low = close * 1.001, close * 0.999
    prices = {"open": close, "high": high, "low": low, "close": close}

    def ours() -> dict[str, NDArray[np.float64]]:
        return {
            f"{name}.{output}": values
            for name, parameters in SIX.items()
            for output, values in compute_indicator(name, parameters, prices).items()
        }

    def raw() -> list[NDArray[np.float64]]:
        return [
            talib.RSI(close, **SIX["RSI"]),
            *talib.MACD(close, **SIX["MACD"]),
            *talib.BBANDS(close, **SIX["BBANDS"]),
            talib.ATR(high, low, close, **SIX["ATR"]),
            talib.ADX(high, low, close, **SIX["ADX"]),
            talib.EMA(close, **SIX["EMA"]),
        ]

    for (name, own), theirs in zip(ours().items(), raw(), strict=True):
        np.testing.assert_allclose(own[2000:], theirs[2000:], rtol=1e-9, atol=1e-12, err_msg=name)
    taken = take_turns({"ours": timed(ours, 20), "raw": timed(raw, 20)}, rounds)
    what = "indicators, six at 50k bars"
    return cheaper(what, taken["ours"], taken["raw"], at_most=1.3, unit="ms", name="raw TA-Lib", scale=1e3)


def bench_fuzzification(rounds: int, folder: Path) -> Row:
    """Seven inputs through three triangles each; memberships are read and let go, as features are made from them."""
    values = np.random.default_rng(4).uniform(-1, 11, (N_BARS, N_INPUTS))
    points = [(0.0, 2.0, 5.0), (2.0, 5.0, 8.0), (5.0, 8.0, 10.0)]
    shapes = tuple(Shape("triangle", three) for three in points)
    variables = [FuzzyVariable(f"v{i}", ("low", "middle", "high"), shapes) for i in range(N_INPUTS)]
    columns = [np.ascontiguousarray(column) for column in values.T]
    np.save(folder / "values.npy", values)
    np.save(folder / "triangles.npy", np.array([points] * N_INPUTS))

    def ours() -> float:
        pairs = zip(variables, columns, strict=True)
        return sum(float(variable.memberships(column).sum()) for variable, column in pairs)

    moved = np.empty((N_SETS, N_BARS))

    def limit() -> None:
        for column in columns:
            moved[:] = column

    peer = PeerProcess(peer_command("skfuzzy", folder))
    np.testing.assert_allclose(ours(), peer.ask()["counted"], rtol=1e-9)
    taken = take_turns({"ours": timed(ours, 20), "limit": timed(limit, 20), "peer": peer.turn()}, rounds)
    peer.close()
    amount = N_BARS * N_INPUTS * N_SETS / 1e3
    return faster(
        FUZZY_ROW,
        taken["ours"],
        taken["peer"],
        at_least=3,
        amounts=(amount, amount),
        unit="memberships",
        name="scikit-fuzzy",
        limit=taken["limit"],
    )


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Measure every row of this layer."""
    found = [bench_indicators(rounds)]
    if is_installed("skfuzzy"):
        with tempfile.TemporaryDirectory() as name:
            found.append(bench_fuzzification(rounds, Path(name)))
    else:
        found.append(not_measured(FUZZY_ROW, 3, f"scikit-fuzzy: {ABSENT}"))
    return found


if __name__ == "__main__":
    sys.exit(show(rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
