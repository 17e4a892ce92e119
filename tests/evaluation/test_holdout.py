"""The exam trades the sealed bars as a test block, and its probability is another library's."""

import warnings

import numpy as np
import polars as pl
import pytest
from planted_market import N_BARS, N_SEALED, STRATEGY, import_planted, planted_frame

from ktrdr.backtest.outcome import INITIAL_EQUITY
from ktrdr.backtest.run import run_backtest
from ktrdr.evaluation.candidacy import sealed_windows
from ktrdr.evaluation.holdout import hold_exam
from ktrdr.evaluation.identity import exam_identity
from ktrdr.features.inputs import compute_inputs
from ktrdr.market.importer import import_file
from ktrdr.market.request import ImportOptions
from ktrdr.market.sealed import load_with_sealed
from ktrdr.strategy.validation import parse_strategy
from ktrdr.training.artifacts import write_training
from ktrdr.training.model import read_model
from ktrdr.training.train import train_strategy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own imports are not ours to mend
    from skfolio.measures import probabilistic_sharpe_ratio


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    """The planted market, the strategy and its stored training, as a folder holds them."""
    folder = tmp_path_factory.mktemp("exam")
    store, specification = import_planted(folder), parse_strategy(STRATEGY)
    bars = store.load_research("PLANTED", "1d")
    outcome = train_strategy(specification, bars, seed=3, on_progress=lambda *_: None, workers=1)
    write_training(folder, outcome, bars)
    return folder, store, specification


def test_an_exam_is_a_backtest_of_the_sealed_bars_with_the_final_model(candidate):
    folder, store, specification = candidate
    model = read_model(folder / "model.safetensors")
    exam = hold_exam(specification, model, store, identity="of this", look=3)
    window = exam.window
    assert (window.n_bars, window.n_folds) == (N_SEALED, 1)
    assert window.first == planted_frame()["timestamp"][N_BARS - N_SEALED]
    # The same by another way: the whole file as one series of research, in another store.
    whole = import_planted_as_research(folder / "whole")
    is_sealed = np.arange(len(whole)) >= N_BARS - N_SEALED
    probability = np.where(is_sealed, model.predict(compute_inputs(specification, whole)), np.nan)
    assert np.isfinite(probability[is_sealed]).all()  # warmed up on research bars
    costs = store.series("PLANTED", "1d").costs
    again = run_backtest(specification, whole, probability, is_sealed.astype(np.int8), costs, seed=3)
    assert exam.metrics == again.report.metrics
    equity = np.concatenate([[INITIAL_EQUITY], again.equity.equity])
    held = np.concatenate([[INITIAL_EQUITY], again.buy_and_hold.equity])
    net = np.diff(equity) / equity[:-1]
    market = np.diff(held) / held[:-1]
    hindsight = np.polyfit(market, net, 1)[0]
    less_market = [probabilistic_sharpe_ratio(net - beta * market) for beta in (exam.market_beta, hindsight)]
    assert exam.net.psr == pytest.approx(probabilistic_sharpe_ratio(net), rel=1e-6)
    assert exam.market_adjusted.psr == pytest.approx(min(less_market), rel=1e-6)
    assert exam.outcome.psr == min(exam.net.psr, exam.market_adjusted.psr)
    assert exam.outcome.required_psr == pytest.approx(1 - 0.05 / 12)
    assert exam.outcome.passed


def import_planted_as_research(folder):
    """Return all planted bars, the sealed ones too, as bars that nobody sealed."""
    store = import_planted(folder)
    frame = planted_frame()
    research = store.load_research("PLANTED", "1d")
    stamp = frame["timestamp"].dt.epoch("ms").to_numpy()
    columns = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close")}
    return type(research)(
        symbol="PLANTED",
        timeframe=research.timeframe,
        snapshot=research.snapshot,
        timestamp=stamp,
        known_at=stamp + 86_400_000,
        session_day=(stamp // 86_400_000).astype(np.int32),
        volume=np.full(len(stamp), np.nan),
        **columns,
    )


def test_an_edge_that_ends_with_research_fails_and_one_that_never_trades_fails(candidate, tmp_path):
    folder, _, specification = candidate
    model = read_model(folder / "model.safetensors")
    store = import_planted(tmp_path)
    series = next((tmp_path / "data" / "PLANTED" / "1d" / "sealed").glob("*.parquet"))
    bars = pl.read_parquet(series)
    assert bars.height == N_SEALED
    calm = hold_exam(
        specification.model_copy(update={"decision": specification.decision.model_copy(update={"enter": 0.999})}),
        model,
        store,
        identity="calm",
        look=1,
    ).outcome
    assert (calm.passed, calm.reason, calm.psr, calm.n_trades) == (False, "no_trades", None, 0)
    # Inverted, the same signals lose: what is asked is whether the ratio is above zero, not whether it is large.
    losing = specification.model_copy(
        update={"decision": specification.decision.model_copy(update={"direction": "long", "enter": 0.0001, "exit": 0})}
    )
    held = hold_exam(losing, model, store, identity="held", look=1)
    assert (held.outcome.passed, held.outcome.reason) == (False, "below_the_bar")


def test_identity_is_of_specification_and_weights_by_whatever_name(candidate, tmp_path):
    folder, store, specification = candidate
    model_file = folder / "model.safetensors"
    identity = exam_identity(specification, model_file)
    renamed = parse_strategy(
        STRATEGY.replace("undone_moves", "another_name").replace("is undone by", "is taken back by")
    )
    outcome = train_strategy(
        renamed, store.load_research("PLANTED", "1d"), seed=3, on_progress=lambda *_: None, workers=1
    )
    again = tmp_path / "model.safetensors"
    again.write_bytes(outcome.model.to_safetensors())
    assert again.read_bytes() != model_file.read_bytes()  # it names its strategy
    assert exam_identity(renamed, again) == identity
    stricter = parse_strategy(STRATEGY + "decision: {enter: 0.6}\n")
    assert exam_identity(stricter, model_file) != identity
    changed = read_model(model_file)
    changed.weights[next(iter(changed.weights))].flat[0] += 1e-3
    again.write_bytes(changed.to_safetensors())
    assert exam_identity(specification, again) != identity


def test_an_exam_of_several_symbols_lies_in_the_time_that_is_sealed_for_all(tmp_path):
    store = import_planted(tmp_path)
    late = planted_frame().slice(160, N_BARS - 190)  # sealed later than the other, and it ends earlier
    late.write_parquet(tmp_path / "late.parquet")
    import_file(store, tmp_path / "late.parquet", ImportOptions(symbol="LATE", timeframe="1d", calendar="24x7"))
    specification = parse_strategy(STRATEGY.replace("[PLANTED]", "[PLANTED, LATE]"))
    research = [store.load_research(symbol, "1d") for symbol in specification.symbols]
    outcome = train_strategy(specification, research, seed=3, on_progress=lambda *_: None, n_shifts=1)
    exam = hold_exam(specification, outcome.model, store, identity="of two", look=1)
    snapshots = {bars.symbol: bars.snapshot for bars in research}
    sealed = [load_with_sealed(store, symbol, "1d", snapshot=snapshots[symbol]) for symbol in specification.symbols]
    begin = max(bars.timestamp[first] for bars, first in sealed)
    end = min(bars.timestamp[-1] for bars, _ in sealed)
    assert begin > min(bars.timestamp[first] for bars, first in sealed)
    assert (exam.window.first.timestamp() * 1000, exam.window.last.timestamp() * 1000) == (begin, end)
    alone = []
    for bars, _ in sealed:
        is_exam = (bars.timestamp >= begin) & (bars.timestamp <= end)
        said = np.where(is_exam, outcome.model.predict(compute_inputs(specification, bars)), np.nan)
        costs = store.series(bars.symbol, "1d").costs
        alone.append(run_backtest(specification, bars, said, is_exam.astype(np.int8), costs).report.metrics)
    assert exam.metrics.total_return == pytest.approx(np.mean([each.total_return for each in alone]))
    assert exam.metrics.n_trades == sum(each.n_trades for each in alone)
    windows = sealed_windows(store, specification, snapshots)
    assert {(each.n_bars, each.first, each.last) for each in windows} == {
        (exam.window.n_bars, exam.window.first, exam.window.last)
    }
