"""The ledger counts every trial once, whatever happens, and shows when somebody has changed it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.evaluation.trial_ledger import TrialLedger


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


def test_a_trial_that_goes_on_after_its_end_is_counted_once_and_its_last_outcome_holds(database, ledger):
    ledger.open_trial("op_a", {"strategy": "a"})
    ledger.reopen_trial("op_a", {"cause": "resume"})  # it is not closed
    for outcome in ("cancelled", "training_failed:process_died"):
        ledger.close_trial("op_a", {"outcome": outcome})
        assert ledger.unclosed() == []
        for _ in range(2):
            ledger.reopen_trial("op_a", {"cause": "retry"})
        assert (ledger.unclosed(), ledger.outcome("op_a")) == (["op_a"], None)
        ledger.open_trial("op_a", {"strategy": "another"})  # a replay
    ledger.close_trial("op_a", {"outcome": "passed_gates"})
    ledger.close_trial("op_a", {"outcome": "cancelled"})  # somebody who is late
    ledger.reopen_trial("op_never_opened", {"cause": "resume"})
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
