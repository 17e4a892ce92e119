"""Resume and retry as the API answers them; what becomes of a revived operation is told by the journeys."""

import sqlite3

import pytest

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.evaluation.trial_ledger import TrialLedger

API = "/api/v1"
NAME = "plain_rsi"
STRATEGY = f"""
schema: 1
name: {NAME}
hypothesis: An oversold RSI reverts within a day, because sellers run out.
market: {{symbols: [SPX], timeframe: 1d}}
indicators: {{rsi: {{type: RSI, timeperiod: 14}}}}
fuzzy_sets: {{rsi: {{input: rsi, partition: [low, middle, high]}}}}
labels: {{type: forward_return, horizon: 12}}
"""


@pytest.fixture
def stored(client):
    """A client of a workspace with the samples and one strategy."""
    client.post(f"{API}/markets/samples")
    headers = {"content-type": "application/yaml"}
    client.post(f"{API}/strategies", content=STRATEGY.encode(), headers=headers)
    return client


def trigger(client, **body):
    return client.post(f"{API}/agent/trigger", json=body).json()["operation_id"]


def ask(client, operation_id, verb):
    answer = client.post(f"{API}/operations/{operation_id}/{verb}")
    return answer.status_code, answer.json().get("reason") or answer.json()["status"]


def detail(client, operation_id, verb):
    return client.post(f"{API}/operations/{operation_id}/{verb}").json()["detail"]


def cancelled(client, operation_id):
    client.post(f"{API}/operations/{operation_id}/cancel")
    return operation_id


def sql(workspace, statement, *values):
    with sqlite3.connect(workspace / ".ktrdr" / "state.sqlite") as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def test_a_cancelled_cycle_is_resumed_once_and_tells_that_it_was(client):
    before = client.post(f"{API}/operations/{cancelled(client, trigger(client, brief='x'))}/cancel").json()
    operation_id = before["operation_id"]
    answer = client.post(f"{API}/operations/{operation_id}/resume")
    assert answer.status_code == 202
    resumed = answer.json()
    (attempt,) = resumed["metadata"].pop("attempts")
    assert (attempt["phase"], attempt["reason"], attempt["by"]) == ("designing", "cancelled", "resume")
    progress = {"percentage": 0.0, "current_step": "waiting"}
    assert resumed == {**before, "status": "pending", "completed_at": None, "progress": progress}
    assert ask(client, operation_id, "resume") == (409, "not_resumable")
    assert f"ktrdr operations watch {operation_id}" in detail(client, operation_id, "resume")
    assert ask(client, operation_id, "retry") == (409, "not_failed")
    cancelled(client, operation_id)
    assert f"ktrdr operations resume {operation_id}" in detail(client, operation_id, "retry")


def test_a_cycle_resumed_again_and_again_keeps_its_last_attempts_and_counts_the_others(client):
    operation_id = trigger(client)
    for _ in range(23):
        resumed = client.post(f"{API}/operations/{cancelled(client, operation_id)}/resume").json()
    metadata = resumed["metadata"]
    times = [attempt["at"] for attempt in metadata["attempts"]]
    assert (len(times), metadata["attempts_dropped"]) == (20, 3)
    assert times == sorted(times)


def test_of_two_cycles_one_may_be_active_whoever_begins_or_goes_on(client):
    first = cancelled(client, trigger(client))
    second = trigger(client)
    refused = client.post(f"{API}/operations/{first}/resume").json()
    assert (refused["reason"], refused["operation_id"]) == ("active_cycle_exists", second)
    cancelled(client, second)
    answers = client.together(*[("POST", f"{API}/operations/{each}/resume", {}) for each in (first, second) * 5])
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9


def test_what_changed_since_an_operation_began_is_named(stored, workspace):
    cycle = cancelled(stored, trigger(stored, strategy=NAME))
    training = cancelled(stored, stored.post(f"{API}/training", json={"strategy": NAME}).json()["operation_id"])
    database = open_database(f"sqlite:///{workspace / '.ktrdr' / 'state.sqlite'}")
    TrialLedger(database, utc_now).open_trial(training, {"kind": "training", "snapshot": "0" * 64})
    database.close()
    assert ask(stored, training, "resume") == (409, "data_changed")
    assert "snapshot 000000000000, now " in detail(stored, training, "resume")

    path = workspace / "strategies" / NAME / "strategy.yaml"
    path.write_text(STRATEGY.replace("timeperiod: 14", "timeperiod: 15"))
    assert ask(stored, cycle, "resume") == (409, "strategy_changed")
    path.write_text("# put back, but for a comment\n" + STRATEGY)
    assert ask(stored, cycle, "resume") == (202, "pending")
    cancelled(stored, cycle)
    path.unlink()
    assert ask(stored, cycle, "resume") == (409, "strategy_changed")

    path.write_text(STRATEGY)
    sql(workspace, "UPDATE workflow_status SET application_version = '0' WHERE workflow_uuid = ?", cycle)
    assert ask(stored, cycle, "resume") == (409, "version_changed")


def test_of_several_symbols_the_one_whose_bars_changed_is_named(stored, workspace):
    pair = STRATEGY.replace(NAME, "pair_rsi").replace("[SPX]", "[MSFT, AAPL]")
    stored.post(f"{API}/strategies", content=pair.encode(), headers={"content-type": "application/yaml"})
    training = cancelled(stored, stored.post(f"{API}/training", json={"strategy": "pair_rsi"}).json()["operation_id"])
    markets = stored.get(f"{API}/markets").json()["markets"]
    snapshots = {each["symbol"]: each["snapshot"] for each in markets if each["symbol"] in ("AAPL", "MSFT")}
    began = {"kind": "training", "snapshots": {**snapshots, "MSFT": "0" * 64}}
    database = open_database(f"sqlite:///{workspace / '.ktrdr' / 'state.sqlite'}")
    TrialLedger(database, utc_now).open_trial(training, began)
    database.close()
    assert ask(stored, training, "resume") == (409, "data_changed")
    assert detail(stored, training, "resume").startswith("the bars of MSFT 1d were changed")


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        ("gate_failed:training:loss_too_high", (409, "gate_refused")),
        ("design_failed:overloaded", (202, "pending")),
    ],
)
def test_a_failed_cycle_is_tried_again_unless_a_gate_refused_it(client, workspace, reason, answer):
    operation_id = trigger(client)
    error = f'{{"ktrdr_error": {{"reason": "{reason}", "message": "as a worker writes it"}}}}'
    sql(
        workspace, "UPDATE workflow_status SET status = 'ERROR', error = ? WHERE workflow_uuid = ?", error, operation_id
    )
    assert ask(client, operation_id, "resume") == (409, "not_resumable")
    next_step = f"ktrdr operations retry {operation_id}" if answer[0] == 202 else "start another cycle"
    assert next_step in detail(client, operation_id, "resume")
    assert ask(client, operation_id, "retry") == answer


def test_a_paid_cycle_goes_on_only_where_its_money_fits_into_the_day(open_client):
    limits = {"KTRDR_AGENT_DAILY_BUDGET_USD": "0.7", "KTRDR_AGENT_CYCLE_BUDGET_USD": "0.5"}
    client = open_client(ANTHROPIC_API_KEY="sk-test", KTRDR_AGENT_MAX_CONCURRENT_CYCLES="2", **limits)
    first = cancelled(client, trigger(client, model="sonnet"))
    second = trigger(client, model="sonnet")
    assert client.get(f"{API}/agent/budget").json()["open_cycles"] == [second]
    assert ask(client, first, "resume") == (409, "budget_exhausted")
    cancelled(client, second)
    assert ask(client, first, "resume") == (202, "pending")
    budget = client.get(f"{API}/agent/budget").json()
    assert (budget["open_cycles"], budget["reserved_usd"]) == ([first], 0.5)
    keyless = open_client(**limits)
    cancelled(client, first)
    assert ask(keyless, first, "resume") == (422, "model_unavailable")
