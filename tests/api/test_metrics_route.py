"""`/metrics`: who may ask, which routes are told apart, and what is left when the database does not answer."""

import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

API, TOKEN = "/api/v1", "0123456789abcdef0123"


def scraped(client, **options):
    answer = client.get("/metrics", **options)
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_the_template_of_their_route_and_never_by_their_own_words(client):
    for name in ("abc", "def"):
        client.get(f"{API}/operations/op_{name}")
        client.get(f"/nowhere/{name}")
    client.request("BREW", "/health")
    client.get("/health", headers={"origin": "http://elsewhere.example"})
    told = scraped(client)
    requests = {key[1:]: count for key, count in told.items() if key[0] == "http_requests_total"}
    assert requests == {
        ("GET", f"{API}/operations/{{operation_id}}", "404"): 2,
        ("GET", "unmatched", "404"): 2,
        ("other", "/health", "405"): 1,
        ("GET", "unmatched", "403"): 1,
    }
    durations = {key[1:]: count for key, count in told.items() if key[0] == "http_request_duration_seconds_count"}
    assert sum(durations.values()) == sum(requests.values())


def test_a_database_that_does_not_answer_leaves_the_rest_and_is_told_whole_when_it_is_back(client):
    database = client.app.state.composition.database
    store = client.app.state.composition.operation_store
    operation = store.enqueue("agent_research", queue="cycles", payload={}, metadata={"gates": []})
    assert scraped(client)["operations_queued", "cycles"] == 1
    store.cancel(operation.operation_id)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE workflow_status RENAME TO hidden"))
    told = scraped(client)
    assert told["ktrdr_database_up",] == 0
    assert told["ktrdr_scrape_errors_total",] == 1
    assert not any(key[0].startswith(("agent_", "operations_", "workers_")) for key in told)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE hidden RENAME TO workflow_status"))
    told = scraped(client)
    assert (told["ktrdr_database_up",], told["agent_cycles_total", "cancelled"]) == (1, 1)


def test_a_server_with_a_token_shows_its_metrics_to_who_has_it(open_client):
    client = open_client(KTRDR_API_TOKEN=TOKEN)
    assert client.get("/metrics").status_code == 401
    assert scraped(client, headers={"authorization": f"Bearer {TOKEN}"})["workers_live", "cycles"] == 0


def test_scrapes_at_once_share_one_reading(client):
    answers = client.together(*[("GET", "/metrics", {})] * 5)
    assert len({answer.text for answer in answers}) <= 2
