"""The shape of the code: what a reader can hold in mind. An exception is one line in a list, with its reason."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "ktrdr").rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_NESTING = 500, 60, 4

# Packages so slow to import that a function may do it itself.
HEAVY = {
    "torch",
    "talib",
    "numba",
    "exchange_calendars",
    "pandas",
    "dbos",
    "polars",
    "rich",
    "uvicorn",
    "fastapi",
    "httpx",
    "genai_prices",
    "opentelemetry",
    "fsspec",
    "ccxt",  # and the other providers' libraries, which need not be installed
    "requests",
    "yfinance",
    "ib_async",
}
# Our own modules that pull such a package in; only these importers put them off.
HEAVY_OF_OURS = {
    "cli": "ktrdr.",  # --help must be quick
    # pydantic-ai and two SDKs: only a worker that asks a language model.
    "agents": ("ktrdr.agents.llm.",),
    # Compiled code: only who stores a strategy or begins with one.
    "jobs": ("ktrdr.evaluation.firewall",),
    # A command that finds a server does not pay for the app, nor one on SQLite for the leases over PostgreSQL.
    "connect": ("ktrdr.connect.hosted_app", "ktrdr.database.engine", "ktrdr.operations.postgres_leases"),
}
# Modules that are started by name and not imported.
ENTRY_POINTS = {
    "ktrdr.cli.__main__",
    "ktrdr.worker",
    "ktrdr.mcp.__main__",
    "ktrdr.jobs.training",
    "ktrdr.jobs.backtest",
    "ktrdr.jobs.sweep",
    "ktrdr.jobs.data_load",
    "ktrdr.jobs.exam",
    "ktrdr.jobs.reproduction",
}

NESTING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def depth(node, level=0):
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deepest = max(deepest, depth(child, level + (isinstance(child, NESTING) and not is_elif)))
    return deepest


def imported_names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MAX_FILE_LINES
    faults = []
    for function in functions(tree):
        lines = function.end_lineno - function.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            faults.append(f"{function.name}: {lines} lines")
        if depth(function) > MAX_NESTING:
            faults.append(f"{function.name}: nested {depth(function)} deep")
    assert faults == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_only_heavy_packages_are_imported_inside_functions(path):
    allowed = HEAVY_OF_OURS.get(path.relative_to(ROOT / "ktrdr").parts[0], "-")
    found = [
        name
        for function in functions(ast.parse(path.read_text()))
        for node in ast.walk(function)
        for name in imported_names(node)
        if name.split(".")[0] not in HEAVY and not name.startswith(allowed)
    ]
    assert found == []


def test_every_module_is_used():
    used = set(ENTRY_POINTS)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            used.update(name for name in imported_names(node) if name != module_name(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("ktrdr."):
                used.add(node.value.partition(":")[0])
    packages = {module_name(path) for path in SOURCES if path.name == "__init__.py"}
    assert sorted({module_name(path) for path in SOURCES} - used - packages) == []
