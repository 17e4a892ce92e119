"""Strategy documents that several test files share."""

import yaml
from hypothesis import strategies as st

from ktrdr.indicators.catalogue import CATALOGUE

EXAMPLE = """
schema: 1
name: rsi_adx_reversion
hypothesis: >
  In a weak trend (low ADX) an oversold RSI reverts within a day.
market: {symbols: [EURUSD], timeframe: 1h}
indicators:
  rsi:    {type: RSI, timeperiod: 14}
  adx:    {type: ADX, timeperiod: 14}
  bands:  {type: BBANDS, timeperiod: 20, nbdevup: 2, nbdevdn: 2}
fuzzy_sets:
  rsi: {input: rsi, sets: {oversold: {shape: trapezoid, points: [0, 0, 25, 40]},
                           neutral: {shape: triangle, points: [30, 50, 70]},
                           overbought: {shape: trapezoid, points: [60, 75, 100, 100]}}}
  trend: {input: adx, partition: [weak, fair, strong]}
  place: {input: bands.lowerband, relative_to: close, partition: [far, near, below]}
labels: {type: triple_barrier, horizon: 24, take_profit: 1.5, stop_loss: 1.5}
model: {type: mlp, hidden: [32, 16], dropout: 0.1}
training: {epochs: 60, batch_size: 256, learning_rate: 0.003, patience: 8, seeds: 3}
decision: {enter: 0.55, exit: 0.50, direction: both, min_bars_between_trades: 0}
risk: {sizing: {type: fixed, exposure: 1.0}, stop_loss: 2.0, take_profit: 4.0, max_holding_bars: 48}
"""


def example_document() -> dict:
    return yaml.safe_load(EXAMPLE)


_identifiers = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_texts = st.text(st.characters(codec="utf-8"), min_size=10, max_size=60).filter(lambda t: len(t.strip()) >= 10)


def _numbers(low, high):
    return st.floats(low, high, allow_nan=False)


@st.composite
def _indicator(draw):
    kind = draw(st.sampled_from([each for each in CATALOGUE.values() if not each.ascending]))
    document = {"type": kind.name}
    for parameter in kind.parameters:
        if draw(st.booleans()):
            whole = st.integers(int(parameter.minimum), int(parameter.maximum))
            document[parameter.name] = draw(
                whole if parameter.is_integer else _numbers(parameter.minimum, parameter.maximum)
            )
    return document


@st.composite
def _shape(draw):
    shape, n_points = draw(st.sampled_from([("triangle", 3), ("trapezoid", 4), ("gaussian", 2)]))
    if shape == "gaussian":
        return {"shape": shape, "points": [draw(_numbers(-1e6, 1e6)), draw(_numbers(1e-9, 1e6))]}
    points = draw(st.lists(_numbers(-1e9, 1e9), min_size=n_points, max_size=n_points, unique=True))
    return {"shape": shape, "points": sorted(points)}


@st.composite
def _variable(draw, identifier, type_name):
    kind = CATALOGUE[type_name]
    reference = identifier if len(kind.outputs) == 1 else f"{identifier}.{draw(st.sampled_from(kind.outputs))}"
    document = {"input": reference}
    if kind.unit == "price":
        document["relative_to"] = draw(st.sampled_from(["open", "high", "low", "close"]))
    if draw(st.booleans()):
        document["sets"] = draw(st.dictionaries(_identifiers, _shape(), min_size=1, max_size=3))
    else:
        document["partition"] = draw(st.lists(_identifiers, min_size=2, max_size=4, unique=True))
    return document


_sizing = st.one_of(
    st.fixed_dictionaries({"exposure": _numbers(1e-6, 1)}),
    st.fixed_dictionaries(
        {"type": st.just("volatility_target")},
        optional={"annual_volatility": _numbers(0.01, 2), "lookback": st.integers(5, 1000)},
    ),
)


@st.composite
def valid_documents(draw):
    """Any document that the validator must accept, sections left out at random."""
    indicators = draw(st.dictionaries(_identifiers, _indicator(), min_size=1, max_size=4))
    names = draw(st.lists(_identifiers, min_size=len(indicators), max_size=len(indicators), unique=True))
    horizon, barrier = draw(st.integers(1, 500)), draw(_numbers(0.1, 50))
    timeframe = draw(st.sampled_from(["1m", "1h", "4h", "1d"]))
    document = {
        "schema": 1,
        "name": draw(st.from_regex(r"[a-z][a-z0-9_]{2,20}", fullmatch=True)),
        "hypothesis": draw(_texts),
        "market": {"symbols": ["BRK.B"], "timeframe": timeframe},
        "indicators": {
            name: raw | draw(st.sampled_from([{}, {"timeframe": "1d"}] if timeframe != "1d" else [{}]))
            for name, raw in indicators.items()
        },
        "fuzzy_sets": {
            name: draw(_variable(identifier, raw["type"]))
            for name, (identifier, raw) in zip(names, indicators.items(), strict=True)
        },
        "labels": draw(
            st.sampled_from(
                [
                    {"type": "forward_return", "horizon": horizon},
                    {"type": "first_move", "threshold": barrier},
                    {"type": "triple_barrier", "horizon": horizon, "take_profit": barrier, "stop_loss": barrier},
                ]
            )
        ),
    }
    enter = draw(_numbers(0.5, 0.99))
    optional = {
        "model": {"type": "mlp", "hidden": draw(st.lists(st.integers(1, 256), min_size=1, max_size=4))},
        "training": {"learning_rate": draw(_numbers(1e-6, 0.5)), "epochs": draw(st.integers(1, 500))},
        "decision": {"enter": enter, "exit": draw(_numbers(0, enter))},
        "risk": {"stop_loss": draw(_numbers(0.1, 50)), "sizing": draw(_sizing)},
    }
    return document | {name: raw for name, raw in optional.items() if draw(st.booleans())}
