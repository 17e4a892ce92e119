import subprocess
import sys

import pytest

HEAVY = ("torch", "fastapi", "httpx", "rich", "pydantic", "opentelemetry", "dbos", "polars", "numba", "sqlalchemy")
HEAVY += ("mcp", "mcp_types", "pydantic_ai", "anthropic", "openai", "genai_prices")
PROBE = f"""
import sys, time
from ktrdr.cli.__main__ import run_command
code = run_command()
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(code, loaded, time.process_time(), file=sys.stderr)
"""
COMMANDS = {
    "agent": ("trigger", "status", "cancel", "history", "schedule"),
    "indicators": ("list", "show"),
    "operations": ("list", "show", "cancel", "watch", "logs", "prune"),
    "strategies": ("list", "show", "validate"),
    "data": ("samples", "import", "list"),
}


def _probe(*arguments):
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    code, rest = done.stderr.splitlines()[-1].split(" ", 1)
    loaded, _, cpu_s = rest.rpartition(" ")
    return int(code), loaded, float(cpu_s), done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["agent", "--help"],
        ["agent", "trigger", "--help"],
        ["agent", "schedule", "--help"],
        ["mcp", "--help"],
        ["--version"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    code, loaded, _, text = _probe(*arguments)
    assert (code, loaded) == (0, "[]")
    assert text


def test_help_costs_at_most_120_ms_of_cpu_time():
    # The least of several: other processes can only make it slower.
    assert min(_probe("--help")[2] for _ in range(4)) <= 0.120


def test_help_lists_every_command_of_the_design_and_each_explains_itself(ktrdr):
    root = ktrdr("--help").stdout
    for name in (
        "agent",
        "operations",
        "strategies",
        "data",
        "train",
        "backtest",
        "serve",
        "worker",
        "mcp",
        "--workspace",
    ):
        assert f"  {name}" in root
    for group, names in COMMANDS.items():
        listed = ktrdr(group, "--help").stdout
        for name in names:
            assert f"  {name}  " in listed
            assert "--json" in ktrdr(group, name, "--help").stdout
    for name in ("train", "backtest", "serve", "worker", "mcp"):
        assert "--json" in ktrdr(name, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["agnet"], "agent"), (["operations", "lits"], "list"), (["strategies", "validat"], "validate")],
)
def test_mistyped_command_is_told_what_was_meant(ktrdr, arguments, meant):
    ended = ktrdr(*arguments)
    assert ended.code == 2
    assert f"Did you mean '{meant}'?" in ended.stderr


def test_a_server_and_a_worker_start_without_what_only_jobs_need():
    probe = (
        "import sys, ktrdr.api.app, ktrdr.worker; print([n for n in ('torch', 'numba', 'talib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
