"""What a cycle, a training or a backtest came to, in words and figures for a person."""

from collections.abc import Mapping

from pydantic import JsonValue

from ktrdr.cli.evidence_report import baseline_lines, null_line, value_at, verdict_lines
from ktrdr.cli.exam_report import exam_lines
from ktrdr.cli.output import MISSING, figure, table_lines
from ktrdr.config import load_settings
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.strategies import StrategyDetail
from ktrdr.telemetry.spans import trace_id_of

# Metric, its words, and how it is written: a ratio, a fraction shown in percent, or a count.
_METRICS = (
    ("sharpe_ratio", "Sharpe ratio", ".2f"),
    ("sortino_ratio", "Sortino ratio", ".2f"),
    ("calmar_ratio", "Calmar ratio", ".2f"),
    ("total_return", "total return", ".2%"),
    ("cagr", "return a year", ".2%"),
    ("max_drawdown", "max drawdown", ".2%"),
    ("n_trades", "trades", "d"),
    ("win_rate", "trades won", ".1%"),
    ("profit_factor", "profit factor", ".2f"),
    ("exposure", "exposure", ".1%"),
    ("turnover", "turnover a year", ".1f"),
    ("costs_paid", "costs paid, of initial equity", ".2%"),
)


def outcome_line(operation: OperationDocument) -> str:
    """Return one line that says how an operation ended."""
    words = f"{operation.operation_id} {operation.status.value}"
    if operation.duration_seconds is not None:
        words += f" after {operation.duration_seconds:.1f} s"
    if operation.error is not None:
        words += f": {operation.error.reason}\n  {operation.error.message}"
    return words


def trace_words(operation: OperationDocument) -> str:
    """Return the id of the trace that tells of an operation, and where to see it if that is known."""
    # What is started by an operation starts nothing itself, so that its parent is where its trace begins.
    trace_id = trace_id_of(operation.parent_id or operation.operation_id)
    jaeger_url = load_settings().jaeger_url
    return trace_id if jaeger_url is None else f"{jaeger_url}/trace/{trace_id}"


def cycle_lines(cycle: OperationDocument, strategy: StrategyDetail | None) -> list[str]:
    """Return the report of a cycle that ended; `strategy` is None where it designed none."""
    lines = [outcome_line(cycle), f"trace {trace_words(cycle)}"]
    if strategy is None:
        return lines
    rows = [_gate_row(gate) for gate in gates_of(cycle)]
    lines += ["", f"Strategy {strategy.name}: {strategy.path}"]
    if rows:
        lines += ["", *_indented(table_lines(("gate", "result", "observed", "limit", "profile"), rows))]
    return lines + result_lines(strategy)


def result_lines(strategy: StrategyDetail) -> list[str]:
    """Return the figures of a strategy's training, backtest and assessment, as far as there are any."""
    return [
        *_training_lines(strategy),
        *_backtest_lines(strategy),
        *exam_lines(strategy.exam, after_exam=strategy.after_exam),
        *_assessment_lines(strategy),
    ]


def gates_of(cycle: OperationDocument) -> list[dict[str, JsonValue]]:
    """Return the gate results of a cycle, empty before the first gate."""
    gates = cycle.metadata.get("gates")
    return [gate for gate in gates if isinstance(gate, dict)] if isinstance(gates, list) else []


def attempt_words(operation: OperationDocument) -> list[str]:
    """Return a line for each attempt that ended before the present one."""
    attempts = operation.metadata.get("attempts")
    records = [each for each in attempts if isinstance(each, dict)] if isinstance(attempts, list) else []
    again = {"worker": "tried again by itself", "resume": "resumed", "retry": "retried"}
    return [
        f"{each.get('phase')} ended with {each.get('reason')} at {each.get('at')}, "
        f"{again.get(str(each.get('by')), 'set going again')}"
        for each in records
    ]


def gate_words(gate: Mapping[str, JsonValue]) -> str:
    """Return a gate's result in one line."""
    name, result, observed, limit, profile = _gate_row(gate)
    return f"{name}: {result}, observed {observed}, limit {limit} (profile {profile})"


def _gate_row(gate: Mapping[str, JsonValue]) -> tuple[str, ...]:
    result = str(gate.get("reason"))
    if gate.get("bypassed"):
        result += " (BYPASSED)"
    return (
        str(gate.get("gate")),
        result,
        figure(gate.get("observed"), ".4g"),
        figure(gate.get("threshold"), ".4g"),
        str(gate.get("profile") or MISSING),
    )


def _training_lines(strategy: StrategyDetail) -> list[str]:
    if strategy.training is None:
        return []
    accepted = ", ".join(strategy.accepted_findings)
    warning = ["", f"ITS BARS HAVE SERIOUS FINDINGS that were accepted: {accepted}"] if accepted else []
    accuracy, loss = strategy.training.get("accuracy"), strategy.training.get("final_loss")
    return [
        *warning,
        "",
        f"Training (validation segments): accuracy {figure(accuracy, '.3f')}, loss {figure(loss, '.3f')} nats. Both "
        "flatter: the best epoch was chosen on these rows.",
        null_line(strategy.training),
    ]


def _backtest_lines(strategy: StrategyDetail) -> list[str]:
    backtest = strategy.backtest
    metrics = value_at(backtest, "metrics")
    if backtest is None or not isinstance(metrics, dict):
        return []
    rows = [(words, figure(metrics.get(name), style)) for name, words, style in _METRICS]
    width = max(len(value) for _, value in rows)
    body = table_lines(("", ""), [(words, value.rjust(width)) for words, value in rows])[1:]
    return [
        "",
        f"Backtest, out of sample and net of costs{_window_words(strategy)}:",
        *_indented(body),
        "",
        *baseline_lines(backtest),
        "",
        *verdict_lines(backtest),
        f"Trials in this workspace so far: {strategy.n_trials}. The best of many looks good by luck alone.",
    ]


def _window_words(strategy: StrategyDetail) -> str:
    window = strategy.backtest.get("window") if strategy.backtest is not None else None
    if not isinstance(window, dict):
        return ""
    first, last = str(window.get("first"))[:10], str(window.get("last"))[:10]
    return f" ({window.get('symbol')} {window.get('timeframe')}, {first} to {last})"


def _assessment_lines(strategy: StrategyDetail) -> list[str]:
    if strategy.assessment is None:
        return []
    lines = ["", f"Assessment by {strategy.assessment.get('model')}: {strategy.assessment.get('judgement')}"]
    for title, key in (("+", "strengths"), ("-", "weaknesses"), (">", "suggestions")):
        remarks = strategy.assessment.get(key)
        lines += [f"  {title} {remark}" for remark in remarks] if isinstance(remarks, list) else []
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
