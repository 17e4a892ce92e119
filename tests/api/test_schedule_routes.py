"""`/agent/schedules` over the real app."""

import pytest

API = "/api/v1"


def test_schedule_is_made_listed_paused_resumed_and_removed(client):
    made = client.post(f"{API}/agent/schedules", json={"every": "30m", "name": "nightly", "brief": "SPX", "seed": 3})
    assert made.status_code == 201
    document = made.json()
    shown = {name: document[name] for name in ("name", "every", "cron", "brief", "seed", "state", "last_cycle")}
    assert shown == {
        "name": "nightly",
        "every": "30m",
        "cron": None,
        "brief": "SPX",
        "seed": 3,
        "state": "waiting",
        "last_cycle": None,
    }
    again = client.post(f"{API}/agent/schedules", json={"cron": "0 22 * * 1-5", "name": "nightly"})
    assert (again.status_code, again.json()["reason"]) == (409, "schedule_exists")
    assert client.get(f"{API}/agent/schedules").json() == {"schedules": [document]}
    one = f"{API}/agent/schedules/{document['schedule_id']}"
    assert client.post(f"{API}/agent/schedules/nightly/pause").json()["state"] == "paused"
    assert client.post(f"{one}/resume").json()["state"] == "scheduled"
    assert client.request("DELETE", one).json()["name"] == "nightly"
    for method, path in (("POST", f"{one}/pause"), ("POST", f"{one}/resume"), ("DELETE", one)):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["reason"]) == (404, "schedule_not_found")


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ({}, "bad_cadence", "every"),
        ({"every": "30s"}, "bad_interval", "such as 30m"),
        ({"cron": "0 25 * * *"}, "bad_cron", "character 3"),
        ({"cron": "0 2 * * *", "timezone": "Europe/Berlln"}, "bad_timezone", "Europe/Berlin"),
        ({"every": "1h", "name": "A b"}, "invalid_name", "a-z"),
        ({"every": "1h", "model": "claude-9"}, "model_unavailable", "ANTHROPIC_API_KEY"),
        ({"every": "1h", "sead": 1}, "invalid_request", "sead"),
    ],
)
def test_schedule_that_cannot_be_is_refused_and_not_stored(client, body, reason, words):
    answer = client.post(f"{API}/agent/schedules", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, reason)
    assert words in answer.json()["detail"]
    assert client.get(f"{API}/agent/schedules").json() == {"schedules": []}
