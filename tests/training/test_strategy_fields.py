"""Every field of the strategy file changes what is learned or what is traded; one that changed nothing would be a lie.

The fields are read from the model itself, so that a new one without a case here fails.
"""

import copy
import json
import typing
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from pydantic import BaseModel
from training_samples import HOUR_MS, bars_from_returns, ignore_progress, strategy

from ktrdr.backtest.run import run_backtest
from ktrdr.indicators.catalogue import CATALOGUE, parameter_faults
from ktrdr.indicators.compute import compute_indicator
from ktrdr.market.costs import CostModel
from ktrdr.market.timeframe import Timeframe
from ktrdr.strategy.sections import IndicatorSpecification
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.train import train_strategy

IDENTITY = {"schema", "name", "hypothesis"}
LOW = {"shape": "trapezoid", "points": [-100, -100, -70, -40]}
BASE = {
    "indicators": {
        "change": {"type": "ROC", "timeperiod": 3},
        "place": {"type": "WILLR", "timeperiod": 14},
        "bands": {"type": "BBANDS", "timeperiod": 20},
    },
    "fuzzy_sets": {
        "change": {"input": "change", "partition": ["down", "flat", "up"]},
        "place": {"input": "place", "sets": {"low": LOW, "high": {"shape": "trapezoid", "points": [-60, -30, 0, 0]}}},
        "band": {"input": "bands.lowerband", "relative_to": "close", "partition": ["near", "far"]},
    },
    "labels": {"type": "forward_return", "horizon": 4},
    "model": {"type": "mlp", "hidden": [4], "dropout": 0.1},
    "training": {"epochs": 4, "batch_size": 64, "learning_rate": 0.02, "patience": 4, "seeds": 1},
    "decision": {"enter": 0.52, "exit": 0.48, "direction": "both", "min_bars_between_trades": 0},
    "risk": {"sizing": {"exposure": 0.9}, "stop_loss": 2.0, "take_profit": 3.0, "max_holding_bars": 12},
}
BARRIERS = {"labels": {"type": "triple_barrier", "horizon": 6, "take_profit": 1.5, "stop_loss": 1.5}}
ONE_SIDED = BARRIERS | {"decision.direction": "long"}
RULES = {"model": {"type": "anfis", "rules": 4, "learn_memberships": True}}
VOLATILITY = {"type": "volatility_target", "annual_volatility": 0.1, "lookback": 30, "max_exposure": 0.8}
TARGET = {"risk.sizing": VOLATILITY, "labels": {"type": "forward_return", "horizon": 4}}


@dataclass(frozen=True)
class Case:
    """One change; `given` is what must be set for it to matter."""

    change: dict
    given: dict = field(default_factory=dict)


CASES = {
    "market.symbols": Case({"market.symbols": ["OTHER"]}),
    "market.timeframe": Case({"market.timeframe": "30m"}),
    "indicators.type": Case({"indicators.change.type": "CMO"}),
    "indicators.parameters": Case({"indicators.change.timeperiod": 4}),
    "indicators.timeframe": Case({"indicators.change.timeframe": "4h"}),
    "fuzzy_sets.input": Case({"fuzzy_sets.band.input": "bands.upperband"}),
    "fuzzy_sets.relative_to": Case({"fuzzy_sets.band.relative_to": "low"}),
    "fuzzy_sets.sets.shape": Case({"fuzzy_sets.place.sets.low": {"shape": "gaussian", "points": [-90, 20]}}),
    "fuzzy_sets.sets.points": Case({"fuzzy_sets.place.sets.low.points": [-100, -100, -75, -35]}),
    "fuzzy_sets.partition": Case({"fuzzy_sets.change.partition": ["down", "up"]}),
    "labels.type": Case(BARRIERS),
    "labels[triple_barrier].horizon": Case({"labels.horizon": 9}, BARRIERS),
    "labels[triple_barrier].take_profit": Case({"labels.take_profit": 1.2}, ONE_SIDED),
    "labels[triple_barrier].stop_loss": Case({"labels.stop_loss": 1.2}, ONE_SIDED),
    "labels[forward_return].horizon": Case({"labels.horizon": 5}),
    "labels[first_move].threshold": Case({"labels.threshold": 1.2}, {"labels": {"type": "first_move", "threshold": 1}}),
    "model.type": Case(RULES),
    "model[mlp].hidden": Case({"model.hidden": [4, 4]}),
    "model[mlp].dropout": Case({"model.dropout": 0.3}),
    "model[anfis].rules": Case({"model.rules": 6}, RULES),
    "model[anfis].learn_memberships": Case({"model.learn_memberships": False}, RULES),
    "training.epochs": Case({"training.epochs": 1}),
    "training.batch_size": Case({"training.batch_size": 32}),
    "training.learning_rate": Case({"training.learning_rate": 0.01}),
    "training.patience": Case({"training.patience": 8}, {"training.epochs": 40, "training.patience": 1}),
    "training.seeds": Case({"training.seeds": 2}),
    "decision.enter": Case({"decision.enter": 0.54}),
    "decision.exit": Case({"decision.exit": 0.44}),
    "decision.direction": Case({"decision.direction": "short"}),
    "decision.min_bars_between_trades": Case({"decision.min_bars_between_trades": 20}),
    "risk.sizing.type": Case({"risk.sizing": VOLATILITY}),
    "risk.sizing[fixed].exposure": Case({"risk.sizing.exposure": 0.5}),
    "risk.sizing[volatility_target].annual_volatility": Case({"risk.sizing.annual_volatility": 0.05}, TARGET),
    "risk.sizing[volatility_target].lookback": Case({"risk.sizing.lookback": 90}, TARGET),
    "risk.sizing[volatility_target].max_exposure": Case(
        {"risk.sizing.max_exposure": 0.4}, TARGET | {"risk.sizing.annual_volatility": 1.0}
    ),
    "risk.stop_loss": Case({"risk.stop_loss": 1.0}),
    "risk.take_profit": Case({"risk.take_profit": 1.0}),
    "risk.max_holding_bars": Case({"risk.max_holding_bars": 2}),
}


def sections_in(annotation):
    """Every model that an annotation names, however deep in unions, containers and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for inner in typing.get_args(annotation) for each in sections_in(inner)]


def paths_of(model, prefix=""):
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        sections = sections_in(info.annotation)
        if not sections:
            yield path
        elif len(sections) == 1:
            yield from paths_of(sections[0], f"{path}.")
        else:  # told apart by their `type`, itself a field
            yield f"{path}.type"
            for section in sections:
                (tag,) = typing.get_args(section.model_fields["type"].annotation)
                yield from (each for each in paths_of(section, f"{path}[{tag}].") if not each.endswith(".type"))


def document(*changes):
    """The base with changes made in order: each a mapping from a dotted path to its new value."""
    built = copy.deepcopy(BASE | {"market": {"symbols": ["TEST"], "timeframe": "1h"}})
    for path, value in (item for each in changes for item in each.items()):
        *parents, last = path.split(".")
        place = built
        for parent in parents:
            place = place[parent]
        place[last] = copy.deepcopy(value)
    return built


@cache
def bars_of(symbol, timeframe):
    """Bars in which moves tend to be undone, so that there is something to learn and to trade."""
    step = 1 if timeframe == "1h" else 2
    returns = np.random.default_rng(len(symbol)).standard_normal(2300 * step) * 0.002 / step
    returns[1:] -= 0.4 * returns[:-1]
    bars = bars_from_returns(returns)
    timestamp = bars.timestamp[0] + np.arange(len(bars)) * (HOUR_MS // step)
    names = {"symbol": symbol, "timeframe": Timeframe(timeframe), "timestamp": timestamp}
    days = (timestamp // (24 * HOUR_MS)).astype(np.int32)
    return bars.__class__(
        **{each: getattr(bars, each) for each in bars.__slots__}
        | names
        | {"known_at": timestamp + HOUR_MS // step, "session_day": days}
    )


@cache
def learned(text):
    """training.json without the strategy's own hash, and the predictions of every bar."""
    specification = strategy(**json.loads(text))
    bars = bars_of(specification.market.symbols[0], specification.market.timeframe.value)
    outcome = train_strategy(specification, bars, seed=1, on_progress=ignore_progress, n_shifts=1)
    return outcome.report.model_dump(exclude={"strategy_sha256"}), outcome.predictions.by_bar(len(bars))


def trades_of(built, predictions):
    specification = strategy(**built)
    bars = bars_of(specification.market.symbols[0], specification.market.timeframe.value)
    trades = run_backtest(specification, bars, *predictions, CostModel(0.2, 0.5, 0.5)).trades
    assert len(trades) > 10
    return trades.entry_time.tolist(), trades.net.tolist()


def test_every_field_of_the_file_has_a_case_here():
    assert sorted(paths_of(StrategySpecification)) == sorted([*CASES, *IDENTITY])


@pytest.mark.parametrize("path", CASES)
def test_a_field_changes_what_is_learned_or_what_is_traded(path):
    case = CASES[path]
    before, after = document(case.given), document(case.given, case.change)
    report, predictions = learned(json.dumps(before))
    if path.startswith(("risk.", "decision.")) and path != "decision.direction":
        # What is decided and risked comes after the predictions: the same ones are traded otherwise.
        assert trades_of(after, predictions) != trades_of(before, predictions)
        return
    changed_report, changed = learned(json.dumps(after))
    assert changed_report != report
    assert not np.array_equal(changed[0], predictions[0], equal_nan=True)


def test_name_and_hypothesis_are_identity_and_change_nothing_that_is_learned():
    assert IDENTITY - {"schema"} == {"name", "hypothesis"}
    report, predictions = learned(json.dumps(document()))
    renamed = document({"name": "another_name", "hypothesis": "Another story about the very same thing."})
    again, same = learned(json.dumps(renamed))
    assert again == report
    assert np.array_equal(same[0], predictions[0], equal_nan=True)
    assert strategy(**renamed).sha256() != strategy(**document()).sha256()
    assert strategy(**renamed).configuration_sha256() == strategy(**document()).configuration_sha256()


def test_every_parameter_of_every_indicator_changes_its_values():
    assert set(IndicatorSpecification.model_fields) == {"type", "parameters", "timeframe"}
    bars = bars_of("TEST", "1h")
    volume = np.random.default_rng(2).lognormal(5, 1, len(bars))
    prices = bars.indicator_inputs() | {"volume": volume}
    idle = []
    for kind in CATALOGUE.values():
        standard = compute_indicator(kind.name, {}, prices)
        for parameter in kind.parameters:
            wanted = (parameter.default + factor * parameter.step for factor in (3, -3, 1, -1))
            value = next(each for each in wanted if not parameter_faults(kind.name, {parameter.name: each}))
            other = compute_indicator(kind.name, {parameter.name: value}, prices)
            if all(np.array_equal(other[name], standard[name], equal_nan=True) for name in standard):
                idle.append(f"{kind.name}.{parameter.name}")
    assert idle == []
