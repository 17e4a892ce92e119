"""The ledger counts every trial once, whatever happens, and shows when somebody has changed it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.evaluation.trial_ledger import TrialLedger, variant_trial
from ktrdr.statistics.luck import expected_maximum_normal


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    create_tables(database)
    yield database
    database.close()


@pytest.fixture
def ledger(database):
    return TrialLedger(database, utc_now)


def test_a_replayed_step_counts_and_closes_a_trial_once(ledger):
    for _ in range(2):
        ledger.open_trial("op_a", {"strategy": "a"})
        ledger.close_trial("op_a", {"outcome": "gate_failed:training:loss_too_high"})
    ledger.close_trial("op_a", {"outcome": "passed_gates"})
    ledger.open_trial("op_b", {"strategy": "b"})
    ledger.close_trial("op_never_opened", {"outcome": "training_unavailable"})
    assert (ledger.count(), ledger.unclosed(), ledger.verify()) == (2, ["op_b"], [])


def test_the_history_of_a_trial_counts_all_and_measures_those_that_got_as_far_as_a_ratio(ledger):
    daily = [0.03, -0.01, 0.05]
    assert ledger.history("op_own").n_trials == 0
    for number, ratio in enumerate(daily):
        ledger.open_trial(f"op_{number}", {})
        metrics = {"sharpe_ratio": ratio * 16, "days_per_year": 256.0}
        ledger.close_trial(f"op_{number}", {"outcome": "passed_gates", "metrics": metrics})
    for trial, outcome in {
        "op_refused": {},
        "op_idle": {"metrics": {"sharpe_ratio": None, "days_per_year": 256.0}},
    }.items():
        ledger.open_trial(trial, {})
        ledger.close_trial(trial, {"outcome": "gate_failed", **outcome})
    ledger.open_trial("op_own", {})
    history = ledger.history("op_own")
    assert (history.n_trials, history.other_sharpes.count) == (6, 3)
    assert history.other_sharpes.mean == pytest.approx(np.mean(daily))
    assert history.other_sharpes.squares == pytest.approx(np.var(daily) * 3)
    ledger.close_trial("op_own", {"outcome": "backtested", "metrics": {"sharpe_ratio": 9.0, "days_per_year": 256.0}})
    assert ledger.history("op_own") == history
    assert ledger.history("op_0").other_sharpes.count == 3


def test_only_the_returns_of_other_trials_on_the_same_snapshot_stand_beside_a_trial(ledger):
    for trial, snapshot, path in (
        ("a", "s1", "a.parquet"),
        ("b", "s1", None),
        ("c", "s2", "c"),
        ("d", "s1", "d.parquet"),
    ):
        ledger.open_trial(f"op_{trial}", {"snapshot": snapshot})
        ledger.close_trial(f"op_{trial}", {"outcome": "x"} | ({} if path is None else {"daily_returns": path}))
    ledger.open_trial("op_own", {"snapshot": "s1"})
    assert ledger.returns_beside("op_own") == ["a.parquet", "d.parquet"]
    assert ledger.returns_beside("op_a") == ["d.parquet"]


def test_of_a_trial_that_goes_on_only_the_outcome_that_holds_is_history(ledger):
    def result(ratio):
        return {"daily_returns": "a.parquet", "metrics": {"sharpe_ratio": ratio * 16, "days_per_year": 256.0}}

    for trial in ("op_a", "op_own"):
        ledger.open_trial(trial, {"snapshot": "s1"})
    ledger.close_trial("op_a", {"outcome": "gate_failed", **result(0.05)})
    ledger.reopen_trials("op_a", {"cause": "resume"})
    history = ledger.history("op_own")
    assert (history.n_trials, history.other_sharpes.count, ledger.returns_beside("op_own")) == (2, 0, [])
    ledger.close_trial("op_a", {"outcome": "passed_gates", **result(0.03)})
    history = ledger.history("op_own")
    assert (history.n_trials, history.other_sharpes.count, ledger.returns_beside("op_own")) == (2, 1, ["a.parquet"])
    assert history.other_sharpes.mean == pytest.approx(0.03)


def test_a_trial_that_goes_on_after_its_end_is_counted_once_and_its_last_outcome_holds(database, ledger):
    ledger.open_trial("op_a", {"strategy": "a"})
    ledger.reopen_trials("op_a", {"cause": "resume"})  # it is not closed
    for outcome in ("cancelled", "training_failed:process_died"):
        ledger.close_trial("op_a", {"outcome": outcome})
        assert ledger.unclosed() == []
        for _ in range(2):
            ledger.reopen_trials("op_a", {"cause": "retry"})
        assert (ledger.unclosed(), ledger.outcome("op_a")) == (["op_a"], None)
        ledger.open_trial("op_a", {"strategy": "another"})  # a replay
    ledger.close_trial("op_a", {"outcome": "passed_gates"})
    ledger.close_trial("op_a", {"outcome": "cancelled"})  # somebody who is late
    ledger.reopen_trials("op_never_opened", {"cause": "resume"})
    assert (ledger.count(), ledger.unclosed(), ledger.verify()) == (1, [], [])
    assert (ledger.outcome("op_a"), ledger.configuration("op_a")) == ({"outcome": "passed_gates"}, {"strategy": "a"})
    with database.engine.connect() as connection:
        events = connection.execute(sa.text("SELECT event FROM ktrdr_trial_events ORDER BY sequence")).scalars().all()
    assert events == ["opened", "closed", "reopened#2", "closed#2", "reopened#3", "closed#3"]


def test_many_writers_make_one_unbroken_chain(database, ledger):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.open_trial(f"op_{number % 40}", {"n": number % 40}), range(80)))
    assert (ledger.count(), ledger.verify()) == (40, [])
    with database.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM ktrdr_trial_events ORDER BY sequence")).all()
    previous = "0" * 64
    for row in rows:  # the chain as somebody else would check it
        fields = [row.sequence, row.trial_id, row.event, row.recorded_at_ms, row.payload, previous]
        previous = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
        assert row.hash == previous


@pytest.mark.parametrize(
    ("tampering", "sequence"),
    [
        ("UPDATE ktrdr_trial_events SET payload = '{}' WHERE sequence = 2", 2),
        ("DELETE FROM ktrdr_trial_events WHERE sequence = 2", 2),
        ("UPDATE ktrdr_trial_events SET recorded_at_ms = 1, hash = 'f' WHERE sequence = 3", 3),
    ],
)
def test_tampering_is_found_and_named(database, ledger, tampering, sequence):
    for number in range(4):
        ledger.open_trial(f"op_{number}", {"n": number})
    with database.engine.begin() as connection:
        connection.execute(sa.text(tampering))
    assert sequence in {fault.sequence for fault in ledger.verify()}


def test_thousands_of_near_copies_are_counted_once_each_and_raise_what_the_best_must_show(database_url):
    database = open_database(database_url)
    create_tables(database)
    ledger = TrialLedger(database, utc_now)
    ledger.open_trial("op_own", {"snapshot": "s1"})
    trials = [variant_trial("op_sweep", number) for number in range(1, 5001)]
    for counted in (trials[:10], trials, trials):  # a crash in between, and a replay
        ledger.open_trials({trial: {"snapshot": "s1", "parameters": {"n": trial}} for trial in counted})
        assert ledger.unclosed() == ["op_own", *counted]
    closed = {"daily_returns": "sweep.parquet", "metrics": {"sharpe_ratio": 1.6, "days_per_year": 256.0}}
    for _ in range(2):
        ledger.close_trials(dict.fromkeys(trials, closed))
        ledger.close_trials({trial: {"outcome": "cancelled"} for trial in trials})
    assert (ledger.count(), ledger.unclosed()) == (5001, ["op_own"])
    history = ledger.history("op_own")
    assert (history.n_trials, history.other_sharpes.count) == (5001, 5000)
    assert (history.other_sharpes.mean, history.other_sharpes.squares) == (pytest.approx(0.1), pytest.approx(0.0))
    assert ledger.history(trials[7]).other_sharpes.count == 0  # a sweep's trials do not stand beside one another
    assert (ledger.returns_beside("op_own"), ledger.returns_beside(trials[7])) == (["sweep.parquet"], [])
    assert ledger.trials_of("op_sweep") == trials
    assert (ledger.trials_of("op_own"), ledger.trials_of("op"), ledger.trials_of("op_s%")) == (["op_own"], [], [])
    ledger.reopen_trials("op_sweep", {"cause": "resume"})
    assert (ledger.count(), len(ledger.unclosed()), ledger.history("op_own").other_sharpes.count) == (5001, 5001, 0)
    assert ledger.verify() == []
    database.close()
    luckiest = np.random.default_rng(2).standard_normal((400, 5001)).max(axis=1).mean()
    assert expected_maximum_normal(history.n_trials) == pytest.approx(luckiest, rel=0.02)
