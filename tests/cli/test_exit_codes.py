import pytest

from ktrdr.cli.exit_codes import exit_code_of_error, exit_code_of_operation
from ktrdr.errors import (
    Conflict,
    ImportRefused,
    InvalidInput,
    KtrdrError,
    NotFound,
    ServerUnreachable,
    WorkspaceUnusable,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (ImportRefused("x"), 2),
        (ServerUnreachable("x"), 3),
        (NotFound("x"), 4),
        (Conflict("x", reason="active_cycle_exists"), 1),
        (Conflict("x", reason="gate_refused"), 5),
        (Conflict("x", reason="budget_exhausted"), 6),
        (WorkspaceUnusable("x"), 1),
        (KtrdrError("x", reason="internal_error"), 1),
        (KtrdrError("x", reason="interrupted"), 130),
    ],
)
def test_error_ends_a_command_with_the_code_of_the_design(error, code):
    assert exit_code_of_error(error) == code


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("completed", None, 0),
        ("failed", "gate_failed:training:accuracy_below_threshold", 5),
        ("failed", "gate_failed:backtest:no_trades", 5),
        ("failed", "design_failed:budget_exceeded", 6),
        ("failed", "training_failed:too_few_bars", 1),
        ("failed", "backtest_failed:metric_missing", 1),
        ("cancelled", None, 1),
    ],
)
def test_command_that_waited_ends_with_the_code_of_what_it_waited_for(status, reason, code):
    assert exit_code_of_operation(status, reason) == code
