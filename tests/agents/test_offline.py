import asyncio
import itertools
import json
import re

import numpy as np
import pytest
from agent_desk import NOW, Desk, ended_cycle, plain_run
from agent_documents import backtest_report, gate, strategy_document, subject, training_report, verdict_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ktrdr.agents.brief import understand_brief
from ktrdr.agents.design_choice import DesignChoice
from ktrdr.agents.families.catalogue import VARIANTS, indicator_set, variants_for
from ktrdr.agents.memory import FAMILIES
from ktrdr.agents.offline import OfflineInvoker
from ktrdr.agents.offline_designer import draw_strategy
from ktrdr.agents.task import AgentTask
from ktrdr.agents.tools import MarketListing
from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import compute_inputs
from ktrdr.market.store import BarStore
from ktrdr.strategy.validation import validate_strategy

INVOKER = OfflineInvoker(lambda: NOW)


def run_designer(desk, number=1, *, seed=None, brief=None):
    executor = desk.executor(f"op_agent_design_20260301_120000_{number:06x}")
    task = AgentTask("designer", brief, number if seed is None else seed)
    return asyncio.run(INVOKER.run(task=task, tools=executor, run=plain_run())), executor.saved_strategy


def run_assessor(desk, judged):
    executor = desk.executor(role="assessor", subject=judged)
    result = asyncio.run(INVOKER.run(task=AgentTask("assessor", None, 1, judged), tools=executor, run=plain_run()))
    assert (result.ok, result.reason) == (True, "saved")
    return executor.saved_assessment


def test_the_same_seed_and_history_give_the_same_strategy_and_another_seed_or_history_another(tmp_path, sample_bars):
    desks = [Desk(tmp_path / str(n), sample_bars) for n in range(3)]
    for desk, seeds in zip(desks, [(7, 8), (7, 8), (9, 8)], strict=True):
        for number, seed in enumerate(seeds):
            run_designer(desk, number, seed=seed)
    one, same, other = ([desk.strategies.text(name) for name in desk.strategies.names()] for desk in desks)
    assert one == same
    assert set(one).isdisjoint(other)  # the second has the same seed and another history


def end_cycle(desk, name, rng, *, favourite=None):
    """Leave what a cycle leaves: a training that may be refused, a backtest, an outcome; `favourite` does well."""
    folder = desk.strategies.folder(name)
    (folder / "training.json").write_text(training_report(accuracy=0.5 + 0.05 * rng.random()).model_dump_json())
    reason = "gate_failed:training:loss_too_high"
    if favourite in name.split("_") or rng.random() < 0.8:
        sharpe = 1.2 if favourite in name.split("_") else float(rng.normal(-0.6, 0.5))
        (folder / "backtest.json").write_text(backtest_report(sharpe=sharpe).model_dump_json())
        reason = None if sharpe > -0.5 else "gate_failed:backtest:sharpe_below_threshold"
    desk.history.operations.insert(0, ended_cycle(name, reason))


def test_twenty_cycles_in_a_row_have_at_least_fifteen_kinds_of_indicators_and_none_is_a_copy(desk):
    rng, kinds, families, parents = np.random.default_rng(2), [], [], 0
    for number in range(40):
        result, name = run_designer(desk, number)
        assert result.ok, (number, result)
        assert (result.input_tokens, result.output_tokens, result.cost_usd, result.model) == (0, 0, 0.0, "offline")
        assert re.fullmatch(rf"({'|'.join(FAMILIES)})_[a-z0-9]+_1[hd]_[a-z0-9_]+_[0-9a-f]{{4}}", name)
        strategy = desk.strategies.read(name)
        kinds.append(tuple(sorted({each.type for each in strategy.indicators.values()})))
        families.append(name.partition("_")[0])
        grown_from = desk.strategies.read_json(name, "design.json")["parent_strategies"]
        parents += len(grown_from)
        for parent in map(desk.strategies.read, grown_from):
            assert parent.market == strategy.market
            assert set(parent.indicators) == set(strategy.indicators)
            periods = [
                (value, parent.indicators[identifier].parameters[key])
                for identifier, each in strategy.indicators.items()
                for key, value in each.parameters.items()
            ]
            assert all(0.3 < value / old < 3 for value, old in periods), (name, periods)
        bars = desk.bars.load_research(strategy.symbols[0], strategy.timeframe)
        rows_of_first_block = len(bars) // 6 - compute_inputs(strategy, bars).first_row
        assert rows_of_first_block - 2 * strategy.labels.horizon >= 250, name
        end_cycle(desk, name, rng)
    assert all(len(set(kinds[first : first + 20])) >= 15 for first in range(21))
    assert set(families[:24]) == set(FAMILIES)
    assert parents >= 5
    designs = [desk.strategies.read(name) for name in desk.strategies.names()]
    assert 6 <= sum(each.model.type == "anfis" for each in designs) <= 20
    assert 6 <= sum(each.risk.sizing.type == "volatility_target" for each in designs) <= 20
    hourly = [each for each in designs if each.timeframe == "1h"]
    longer = [each for each in designs if any(one.timeframe for one in each.indicators.values())]
    assert len(hourly) / 5 <= len(longer) <= len(hourly) / 2
    assert all(each in hourly for each in longer)
    for name in desk.strategies.names():
        assert desk.strategies.find_near_copy(desk.strategies.read(name)) is None


def test_designs_move_to_the_family_that_did_better_out_of_sample_and_go_on_trying_others(tmp_path, sample_bars):
    shares = {}
    for favourite in ("momentum", "reversion"):
        desk = Desk(tmp_path / favourite, sample_bars)
        rng, families = np.random.default_rng(4), []
        for number in range(44):
            _, name = run_designer(desk, number)
            families.append(name.partition("_")[0])
            end_cycle(desk, name, rng, favourite=favourite)
        shares[favourite] = {family: families[12:].count(family) for family in FAMILIES}
        assert len(set(families[24:])) >= 6
    followed = shares["momentum"]["momentum"] + shares["reversion"]["reversion"]
    not_followed = shares["momentum"]["reversion"] + shares["reversion"]["momentum"]
    assert followed >= 2 * not_followed, shares


@pytest.mark.parametrize(
    ("brief", "expected", "noted"),
    [
        (
            "A reversion idea on EUR/USD please",
            {"family": "reversion", "symbol": "EURUSD"},
            "family reversion, market E",
        ),
        ("long only momentum, daily", {"family": "momentum", "timeframe": "1d", "direction": "long"}, "direction long"),
        (
            "break-out of MSFT, only short",
            {"family": "breakout", "symbol": "MSFT", "direction": "short"},
            "market MSFT",
        ),
        ("daily bars of EURUSD", {"symbol": "EURUSD", "timeframe": "1h"}, "has the timeframe 1d; another was taken"),
        ("Make me rich with cats", {}, "the brief was not used"),
        (None, {}, "No brief was given"),
    ],
)
def test_what_a_brief_names_is_followed_and_what_was_understood_is_said(desk, brief, expected, noted):
    for number in range(4):
        _, name = run_designer(desk, number, brief=brief)
        strategy = desk.strategies.read(name)
        facts = {
            "family": name.partition("_")[0],
            "symbol": strategy.symbols_text,
            "timeframe": strategy.timeframe,
            "direction": strategy.decision.direction,
        }
        assert facts | expected == facts
        assert noted in desk.strategies.read_json(name, "design.json")["notes"]


def test_without_a_market_the_designer_says_so_and_writes_nothing(desk, tmp_path):
    executor = desk.executor(bars=BarStore(tmp_path / "no_data"))
    result = asyncio.run(INVOKER.run(task=AgentTask("designer", None, 1), tools=executor, run=plain_run()))
    assert (result.ok, result.reason) == (False, "no_strategy")
    assert desk.files() == []


def test_a_designer_that_is_run_again_after_a_crash_makes_no_second_strategy(desk):
    first = run_designer(desk, 1)
    again = run_designer(desk, 1)
    assert again[1] == first[1]
    assert (again[0].ok, again[0].turns) == (True, 0)
    assert len(desk.strategies.names()) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_variant_of_a_family_is_finite_and_without_dead_zones_on_every_market_that_it_serves(desk, family):
    rng, kinds = np.random.default_rng(11), {}
    for info, _ in itertools.product(desk.bars.list_series(), range(2)):
        market = MarketListing.of(info)
        for variant in variants_for(family, market):
            choice = DesignChoice(family, variant, market)
            strategy = validate_strategy(draw_strategy(rng, choice, understand_brief(None, [market])))
            assert len(strategy.hypothesis) > 150, "what the market does, and why it should persist"
            bars = desk.bars.load_research(info.symbol, info.timeframe)
            inputs = compute_inputs(strategy, bars)
            rows = np.arange(inputs.first_row, len(bars))
            coverage = FuzzyEncoder.fit(strategy, inputs, rows).coverage(inputs, rows)
            assert {coverage[name] for name in strategy.fuzzy_sets} == {1.0}, (variant.key, coverage)
            assert strategy.labels.horizon <= len(bars) / 30
            assert strategy.decision.exit < 0.5
            kinds[variant.key] = indicator_set(variant, market)
    assert kinds.keys() == {variant.key for variant in VARIANTS[family]}
    assert len(set(kinds.values())) == len(kinds) >= 3, "each variant is another set of indicators"


def test_a_family_of_volume_is_not_drawn_where_there_is_none(desk):
    (market,) = (MarketListing.of(info) for info in desk.bars.list_series() if not info.has_volume)
    assert variants_for("volume", market) == []
    result, _ = run_designer(desk, brief="volume on NOVOLUME")
    assert (result.ok, result.reason) == (False, "no_strategy")


@pytest.mark.parametrize(
    ("backtest", "training", "judgement", "said"),
    [
        ({}, {}, "promising", "strengths: Judged promising by rule"),
        ({"sharpe": 0.3}, {}, "mediocre", "weaknesses: Judged mediocre: net positive, but promising needs a Sharpe"),
        ({"n_trades": 12}, {}, "mediocre", "weaknesses: Only 12 trades"),
        ({"drawdown": 0.31}, {}, "mediocre", "suggestions: Halve the exposure of 1"),
        ({}, {"base_rate": 0.6}, "mediocre", "weaknesses: No skill shown: validation accuracy 0.530; always naming"),
        ({}, {"shifted": 0.54}, "mediocre", "and 0.540 is needed to beat the recipe on shifted labels too"),
        ({"sharpe": 0.2}, {}, "mediocre", "weaknesses: Holding the market over the same bars had a Sharpe"),
        ({"p_value": 0.2}, {}, "promising", "weaknesses: 20% of 1000 draws of its own signals at random times did as"),
        ({}, {}, "promising", "strengths: Only 4.0% of 1000 draws of its own signals at random times did as well"),
        ({"verdict": verdict_report(value="disproven")}, {}, "poor", "weaknesses: Verdict disproven: the 95% interval"),
        ({"verdict": verdict_report(value="candidate")}, {}, "promising", "weaknesses: Verdict candidate: above luck"),
        ({"sharpe": -0.4, "profit_factor": 0.9}, {}, "poor", "Sharpe ratio is -0.40 and the profit factor 0.90"),
        ({"total_return": -0.2, "sharpe": -0.4}, {}, "poor", "weaknesses: It lost about 18.0% even before its costs"),
        ({"n_trades": 0, "total_return": 0.0}, {}, "poor", "suggestions: No probability reached decision.enter 0.55"),
        ({"costs_paid": 0.09, "total_return": 0.01}, {}, "promising", "weaknesses: Costs of 9.0% of initial equity"),
        ({}, {"coverage": 0.6}, "promising", "weaknesses: Rows outside every fuzzy set: rsi covers 60%"),
        ({}, {"accuracy_sd": 0.03}, "promising", "weaknesses: Accuracy varies by 0.030"),
        ({}, {}, "promising", "strengths: What it has learned can be read: IF stretch is oversold AND trend is weak"),
        ({}, {"r_squared": 0.2}, "promising", "weaknesses: Its rules tell little of what the network says (R² 0.20"),
    ],
)  # fmt: skip
def test_the_assessment_follows_its_rules_and_names_the_figures(desk, backtest, training, judgement, said):
    run = desk.executor()
    run.execute("save_strategy_config", {"strategy": strategy_document("first_idea")})
    report = run_assessor(
        desk,
        subject(name="first_idea", training=training_report(**training), backtest=backtest_report(**backtest)),
    )
    remarks = [
        f"{kind}: {text}" for kind in ("strengths", "weaknesses", "suggestions") for text in getattr(report, kind)
    ]
    assert report.judgement == judgement
    assert any(said in remark for remark in remarks), remarks
    assert json.loads((desk.strategies.folder("first_idea") / "assessment.json").read_text())["judgement"] == judgement


def test_an_assessment_always_says_what_the_figures_do_not_show(desk):
    desk.executor().execute("save_strategy_config", {"strategy": strategy_document("first_idea")})
    refused = gate("backtest", passed=False, reason="sharpe_below_threshold", bypassed=True)
    verdict = verdict_report(n_trials=100, expected_best_sharpe=1.26)
    judged = subject(
        name="first_idea", gates=(gate("training"), refused), backtest=backtest_report(verdict=verdict), n_trials=100
    )
    report = run_assessor(desk, judged)
    text = "\n".join(report.weaknesses)
    assert "The backtest gate refused it (sharpe_below_threshold) and was bypassed." in text
    assert (
        "Verdict inconclusive (not_above_luck): 41% likely to be better than luck, 95% needed; an even chance to show "
        "it takes 14.3 more years of such results." in text
    )
    assert "It counts 100 trials; the luckiest of so many without skill would show about 1.26." in text
    assert "The 95% interval of the Sharpe ratio, -0.20 to 1.80 over 4.0 years, holds zero" in text
    assert "one market only (EURUSD 1h, 2017-01-02 to 2017-09-01); the sealed bars have not been looked at" in text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sharpe=st.floats(-30, 30),
    profit_factor=st.floats(0, 1e6),
    n_trades=st.integers(0, 10_000),
    drawdown=st.floats(0, 1),
    total_return=st.floats(-1, 1e4),
    costs_paid=st.floats(0, 1e3),
    years=st.floats(0.01, 60),
    accuracy=st.floats(0, 1),
    n_trials=st.integers(1, 10**6),
)
def test_whatever_the_figures_an_assessment_is_saved_and_no_loser_is_called_promising(
    desk, accuracy, n_trials, **figures
):
    (desk.strategies.folder("first_idea") / "assessment.json").unlink(missing_ok=True)
    if not desk.strategies.exists("first_idea"):
        desk.executor().execute("save_strategy_config", {"strategy": strategy_document("first_idea")})
    report = run_assessor(
        desk,
        subject(
            name="first_idea",
            training=training_report(accuracy=accuracy),
            backtest=backtest_report(**figures),
            n_trials=n_trials,
        ),
    )
    if figures["n_trades"] == 0 or figures["sharpe"] <= 0 or figures["profit_factor"] < 1:
        assert report.judgement == "poor"
    if report.judgement == "promising":
        assert figures["sharpe"] >= 0.5
        assert figures["n_trades"] >= 30
        assert accuracy > 0.5
