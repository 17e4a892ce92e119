import json
import socket

import pytest

STRATEGY = """
schema: 1
name: plain_rsi
hypothesis: An oversold RSI reverts within a day, because sellers run out.
market: {symbols: [EURUSD], timeframe: 1h}
indicators: {rsi: {type: RSI, timeperiod: 14}}
fuzzy_sets: {rsi: {input: rsi, partition: [low, middle, high]}}
labels: {type: forward_return, horizon: 12}
"""


@pytest.fixture
def strategy_file(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(STRATEGY)
    return path


def test_empty_workspace_has_nothing_and_says_how_to_begin(ktrdr):
    assert ktrdr("operations", "list", "--json").document == {"operations": [], "next_cursor": None}
    assert ktrdr("strategies", "list", "--json").document == {"strategies": [], "next_cursor": None}
    assert ktrdr("data", "list", "--json").document == {"markets": [], "damaged": [], "next_cursor": None}
    status = ktrdr("agent", "status", "--json").document
    assert status.pop("budget")["remaining_usd"] == 5.0
    assert status == {"status": "idle", "operation": None, "active": [], "last_cycle": None}
    listed = ktrdr("data", "list")
    assert (listed.code, listed.stdout) == (0, "")
    assert "ktrdr data samples" in listed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason", "words"),
    [
        (["operations", "show", "op_none"], 4, "operation_not_found", "ktrdr operations list"),
        (["operations", "watch", "op_none"], 4, "operation_not_found", "op_none"),
        (["operations", "cancel", "op_none"], 4, "operation_not_found", "op_none"),
        (["operations", "show", "."], 2, "invalid_input", "dots alone"),
        (["operations", "show", b"\xff".decode(errors="surrogateescape")], 2, "invalid_input", "not UTF-8"),
        (["operations", "list", "--cursor", "nonsense"], 2, None, "cursor"),
        (["operations", "list", "--limit", "0"], 2, "usage", "--limit"),
        (["operations", "list", "--since", "yesterday"], 2, "invalid_input", "--since"),
        (["operations", "logs", "abcdef"], 4, "operation_not_found", "abcdef"),
        (["operations", "prune", "--older-than", "30"], 2, "invalid_input", "older_than"),
        (["operations", "lst"], 2, "usage", "Did you mean 'list'?"),
        (["agent", "trigger", "--seed", "-1"], 2, "usage", "--seed"),
        (["agent", "trigger", "--brief", "x" * 9000], 2, "invalid_input", "brief"),
        (["agent", "trigger", "--workspace"], 2, "invalid_input", "--workspace"),
        (["worker", "--queues", "cycles,nonsense"], 2, "usage", "was 'nonsense'"),
        (["serve", "--host", "0.0.0.0"], 2, "token_needed", "KTRDR_API_TOKEN"),
        (["mcp", "--transport", "http", "--host", "0.0.0.0"], 2, "invalid_input", "loopback"),
        (["mcp", "--port", "8001"], 2, "usage", "--transport http"),
        (["agent", "cancel"], 4, "no_active_cycle", "no cycle is active"),
        (["agent", "trigger", "--detach"], 2, "server_needed", "ktrdr serve"),
        (["strategies", "show", "nobody_has_it"], 4, "unknown_strategy", "nobody_has_it"),
        (["strategies", "show", "../../etc"], 2, "invalid_input", "etc"),
        (["strategies", "validate", "missing.yaml"], 4, "file_not_found", "missing.yaml"),
        (["strategies", "validate", "."], 2, "invalid_input", "Is a directory"),
        (["data", "import", "missing.csv", "--symbol", "A", "--timeframe", "1d"], 4, "file_not_found", "missing.csv"),
    ],
)
def test_command_that_cannot_do_its_work_says_why_with_the_right_code_and_one_document(
    ktrdr, arguments, code, reason, words
):
    ended = ktrdr(*arguments, "--json")
    assert ended.code == code
    assert words in ended.stderr
    problem = ended.document
    assert reason in (None, problem["reason"])
    assert problem["detail"]


def test_usage_error_names_the_option_and_is_code_2(ktrdr):
    for arguments, words in (
        (["agent", "trigger", "--seed", "-1"], "--seed"),
        (["agent", "trigger", "--sead", "1"], "--sead"),
        (["agent", "trigger", "--detach", "--until-completed", "2"], "--until-completed"),
        (["operations", "list", "--status", "happy"], "--status"),
        (["operations", "show"], "ID"),
        (["serve", "--host", "0.0.0.0"], "KTRDR_API_TOKEN"),
    ):
        ended = ktrdr(*arguments)
        assert (ended.code, ended.stdout) == (2, "")
        assert words in ended.stderr


def test_strategy_file_is_judged_with_every_fault_at_once(ktrdr, strategy_file):
    valid = ktrdr("strategies", "validate", strategy_file)
    assert (valid.code, valid.stdout) == (0, f"{strategy_file}: valid\n")
    strategy_file.write_text(STRATEGY.replace("timeperiod: 14", "timeperiod: 1").replace("12", "many"))
    faulty = ktrdr("strategies", "validate", strategy_file)
    assert faulty.code == 2
    assert [line.partition(":")[0] for line in faulty.stdout.splitlines()] == [
        "indicators.rsi.timeperiod",
        "labels.horizon",
    ]
    as_json = ktrdr("strategies", "validate", strategy_file, "--json")
    assert as_json.document == {"valid": False, "faults": faulty.stdout.splitlines()}


def test_bars_are_imported_and_listed_and_what_was_assumed_is_said(ktrdr, tmp_path):
    days = "\n".join(
        f"{2000 + n // 360}-{n // 30 % 12 + 1:02}-{n % 30 + 1:02},{100 + n % 7},{108 + n % 7},{99},{101 + n % 5}"
        for n in range(1800)
        if not (n // 30 % 12 == 1 and n % 30 > 27)
    )
    (tmp_path / "bars.csv").write_text(f"timestamp,open,high,low,close\n{days}\n")
    imported = ktrdr(
        "data", "import", tmp_path / "bars.csv", "--symbol", "COIN", "--timeframe", "1d", "--calendar", "24x7", "--json"
    )
    assert imported.code == 0, imported.stderr
    series = imported.document["series"]
    assert (series["symbol"], series["calendar"]) == ("COIN", "24x7")
    for notice in imported.document["notices"]:
        assert f"note: {notice}" in imported.stderr
    assert ktrdr("data", "list", "--json").document["markets"] == [series]
    assert "COIN" in ktrdr("data", "list").stdout


def test_refused_import_is_code_2_and_leaves_nothing(ktrdr, tmp_path, workspace):
    (tmp_path / "bars.csv").write_text("timestamp,open,high,low,close\n2020-01-01,1,2,3,4\n")
    ended = ktrdr("data", "import", tmp_path / "bars.csv", "--symbol", "COIN", "--timeframe", "1d")
    assert (ended.code, ended.stdout) == (2, "")
    assert not (workspace / "data").exists()


@pytest.mark.parametrize("arguments", [["agent", "status"], ["agent", "trigger"], ["data", "samples"], ["serve"]])
def test_workspace_that_cannot_be_used_is_one_clear_message(ktrdr, workspace, arguments):
    workspace.parent.mkdir(exist_ok=True)
    workspace.write_text("a file where the folder should be")
    ended = ktrdr(*arguments)
    assert ended.code == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "--workspace" in ended.stderr


def test_named_server_that_does_not_answer_is_code_3(ktrdr, monkeypatch, workspace):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KTRDR_API_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
    ended = ktrdr("agent", "trigger", "--json")
    assert (ended.code, ended.document["reason"]) == (3, "api_unreachable")
    assert not workspace.exists()


def test_port_in_use_is_one_message_that_names_the_option(ktrdr, workspace):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = ktrdr("serve", "--port", other.getsockname()[1])
    assert ended.code == 1
    assert "--port" in ended.stderr.splitlines()[0]
    assert not (workspace / ".ktrdr" / "server.json").exists()


def test_worker_that_cannot_start_leaves_no_cycle_behind(ktrdr, workspace):
    (workspace / ".ktrdr").mkdir(parents=True)
    (workspace / ".ktrdr" / "workers").write_text("a file where the leases should be")
    ended = ktrdr("agent", "trigger")
    assert ended.code == 1
    assert "the worker cannot start" in ended.stderr
    (workspace / ".ktrdr" / "workers").unlink()
    assert ktrdr("operations", "list", "--json").document["operations"] == []


def test_failure_inside_the_app_is_logged_beside_the_workspace_and_shown_without_a_trace(ktrdr, workspace):
    (workspace / "strategies" / "plain_rsi").mkdir(parents=True)
    (workspace / "strategies" / "plain_rsi" / "strategy.yaml").write_bytes(STRATEGY.encode())
    (workspace / "strategies" / "plain_rsi" / "design.json").symlink_to("design.json")
    ended = ktrdr("strategies", "show", "plain_rsi", "--json")
    assert (ended.code, ended.document["reason"]) == (1, "internal_error")
    [log] = (workspace / ".ktrdr" / "logs").glob("api-*.log")
    [line] = log.read_text().splitlines()
    assert "OSError" in json.loads(line)["trace"]


@pytest.fixture
def with_a_key(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-planted")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")  # nobody answers there


@pytest.mark.usefixtures("with_a_key")
def test_cycle_that_the_day_cannot_pay_is_refused_with_the_code_of_the_budget_and_says_what_to_do(ktrdr, monkeypatch):
    monkeypatch.setenv("KTRDR_AGENT_DAILY_BUDGET_USD", "0.49")
    ended = ktrdr("agent", "trigger", "--model", "sonnet", "--json")
    assert (ended.code, ended.document) == (6, {"triggered": False, "reason": "budget_exhausted"})
    assert "ktrdr agent budget" in ended.stderr
    budget = ktrdr("agent", "budget", "--json").document
    assert (budget["daily_limit_usd"], budget["remaining_usd"], budget["days"]) == (0.49, 0.49, [])


@pytest.mark.usefixtures("with_a_key")
def test_cycle_whose_first_call_costs_more_than_it_may_fails_with_the_code_of_the_budget_and_pays_nothing(
    ktrdr, monkeypatch
):
    monkeypatch.setenv("KTRDR_AGENT_CYCLE_BUDGET_USD", "0.001")
    ktrdr("data", "samples")
    ended = ktrdr("agent", "trigger", "--model", "sonnet", "--json")
    assert (ended.code, ended.document["error"]["reason"]) == (6, "design_failed:budget_exceeded")
    assert ended.document["metadata"]["cost_usd"] == 0.0
    report = ktrdr("agent", "budget")
    assert "$0.0000 spent, $0.0000 reserved, $5.0000 of $5.00 left" in report.stdout
    assert "no LLM was called" in report.stdout


def test_strategy_with_a_count_changed_by_hand_is_still_shown(ktrdr, workspace):
    folder = workspace / "strategies" / "plain_rsi"
    folder.mkdir(parents=True)
    (folder / "strategy.yaml").write_text(STRATEGY)
    (folder / "backtest.json").write_text('{"metrics": {"n_trades": 1.5}}')
    shown = ktrdr("strategies", "show", "plain_rsi")
    assert shown.code == 0, shown.stderr
    assert "1.5" in shown.stdout
