"""Looks at sealed bars are counted before they are taken, once each, whoever asks at the same time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.database.tables import create_tables
from ktrdr.errors import Conflict
from ktrdr.evaluation.exam_ledger import ExamLedger, LookSubject
from ktrdr.evaluation.trial_ledger import TrialLedger

OUTCOME = {
    "passed": False,
    "reason": "below_the_bar",
    "psr": 0.9,
    "required_psr": 0.975,
    "sharpe_ratio": 1.2,
    "n_trades": 40,
    "first": "2020-01-01T00:00:00Z",
    "last": "2021-01-01T00:00:00Z",
}


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    create_tables(database)
    yield database
    database.close()


def subject(number, *, operation=None):
    return LookSubject(
        identity=f"identity {number}",
        operation_id=operation or f"op_{number}",
        strategy=f"strategy_{number}",
        strategy_sha256=f"{number}" * 4,
        instruments=("SPX",),
        designer=None,
    )


def exams_operation(ledger, number):
    return ledger.find(f"identity {number}").look.operation_id


def test_simultaneous_looks_get_numbers_of_their_own_and_a_second_look_is_refused(database):
    def open_one(number):  # each of twelve subjects is asked for by its own operation, twice, and by a stranger
        ledger = ExamLedger(database, utc_now)
        try:
            return number % 12, ledger.open_look(
                subject(number % 12, operation="op_stranger" if number >= 24 else None), trial_head=None
            )
        except Conflict:
            return number % 12, None

    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(open_one, range(36)))
    looks = {who: number for who, number in opened if number is not None}
    assert sorted(looks.values()) == list(range(1, 13))
    assert all(number in (None, looks[who]) for who, number in opened)  # a replay has the number of its first
    ledger = ExamLedger(database, utc_now)
    assert (ledger.count(), ledger.verify()) == (12, [])
    for _ in range(2):  # a replayed step closes once
        ledger.close_look("identity 3", OUTCOME)
    ledger.close_look("identity nobody opened", OUTCOME)
    assert [exam.look.identity for exam in ledger.exams() if exam.outcome] == ["identity 3"]
    again = replace(subject(3), operation_id="op_later", strategy="another_name")
    with pytest.raises(Conflict, match=r"under the name 'strategy_3'.*vault list") as refusal:
        ledger.open_look(again, trial_head=None)
    assert (refusal.value.reason, refusal.value.operation_id) == ("already_examined", exams_operation(ledger, 3))
    assert ledger.count() == 12


def test_rows_cut_off_or_rewritten_are_named(database):
    trials, exams = TrialLedger(database, utc_now), ExamLedger(database, utc_now)
    for number in range(5):
        trials.open_trial(f"op_{number}", {"n": number})
    exams.open_look(subject(0), trial_head=trials.head())
    exams.close_look("identity 0", OUTCOME)
    assert trials.verify(exams.trial_heads()) == []
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ktrdr_trial_events WHERE sequence > 3"))
        passed = "UPDATE ktrdr_exam_events SET payload = replace(payload, 'false', 'true') WHERE sequence = 2"
        connection.execute(sa.text(passed))
    assert trials.verify() == []  # of the chain alone nothing shows
    assert [(fault.sequence, fault.what) for fault in trials.verify(exams.trial_heads())] == [
        (5, "was cut off: it is known from elsewhere")
    ]
    assert [(fault.sequence, fault.what) for fault in exams.verify()] == [(2, "was changed after it was written")]
    trials.open_trial("op_forged", {"n": 9})
    trials.open_trial("op_forged_too", {"n": 9})
    assert "another one" in trials.verify(exams.trial_heads())[0].what
