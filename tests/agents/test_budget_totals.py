"""The ledger's totals are those of its own report, day after day, whichever days are added up anew."""

from datetime import UTC, datetime, timedelta

import pytest

from ktrdr.agents.budget import BudgetLedger, BudgetLimits, Usage
from ktrdr.agents.budget_totals import BudgetTotals
from ktrdr.database.engine import open_database
from ktrdr.operations.store import migrate_database


def test_totals_follow_the_ledger_over_days_and_count_what_nobody_settles_after_an_hour(database_url):
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    database = open_database(database_url)
    migrate_database(database)
    ledger = BudgetLedger(database, lambda: now, BudgetLimits(100.0, 50.0))
    totals = BudgetTotals(database, lambda: now)
    assert totals.read() == {}
    ledger.open_envelope("cycle")
    for day in range(5):  # each day: one answered, one free failure, one of which nobody knows
        for name, settlement in {
            "answered": (0.25, Usage(100, 20, 30, 10)),
            "failed": (0.0, None),
            "unknown": (None, None),
        }.items():
            model = "claude-b" if name == "failed" and day == 4 else "claude-a"
            attempt = f"{day}-{name}"
            ledger.reserve(attempt_id=attempt, cycle_id="cycle", operation_id="op", model=model, amount_usd=0.5)
            if name != "unknown":
                ledger.settle(attempt, amount_usd=settlement[0], usage=settlement[1])
        before = totals.read()["claude-a"]
        assert before.calls["unknown"] == day  # today's may still be settled
        now += timedelta(hours=2)
        told = totals.read()
        assert told["claude-a"].calls["unknown"] == day + 1
        now += timedelta(days=1, hours=-2)
    report = {each.key: each for each in ledger.report(30).models}
    fresh = BudgetTotals(database, lambda: now).read()
    assert totals.read() == fresh
    assert {name: (sum(each.calls.values()), each.usage) for name, each in fresh.items()} == {
        name: (each.calls, each.usage) for name, each in report.items()
    }
    assert fresh["claude-a"].charged_usd == pytest.approx(report["claude-a"].charged_usd) == pytest.approx(5 * 0.75)
    assert fresh["claude-b"].calls == {"answered": 0, "failed": 1, "unknown": 0}
    database.close()
