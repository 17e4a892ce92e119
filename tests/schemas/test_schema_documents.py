import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ktrdr.clock import format_time
from ktrdr.errors import InvalidInput
from ktrdr.operations.operation import Operation, OperationError, OperationStatus, Progress
from ktrdr.schemas.agent import TriggerRequest
from ktrdr.schemas.operations import OperationDocument


def _operation() -> Operation:
    return Operation(
        operation_id="op_training_20261122_182050_c33ef9",
        type="training",
        status=OperationStatus.FAILED,
        parent_id=None,
        created_at=datetime(2026, 11, 22, 18, 20, 50, 329_000, UTC),
        started_at=datetime(2026, 11, 22, 18, 20, 51, tzinfo=UTC),
        completed_at=datetime(2026, 11, 22, 18, 20, 53, 250_000, UTC),
        progress=Progress(20.0, "fold 1"),
        metadata={"strategy_name": "some_name"},
        result=None,
        error=OperationError("too_few_bars", "need more"),
    )


def test_operation_on_the_wire_has_exactly_the_fields_of_the_design():
    wire = json.loads(OperationDocument.model_validate(_operation()).model_dump_json())
    assert wire == {
        "operation_id": "op_training_20261122_182050_c33ef9",
        "type": "training",
        "status": "failed",
        "parent_id": None,
        "created_at": "2026-11-22T18:20:50.329Z",
        "started_at": "2026-11-22T18:20:51.000Z",
        "completed_at": "2026-11-22T18:20:53.250Z",
        "duration_seconds": 2.25,
        "progress": {"percentage": 20.0, "current_step": "fold 1"},
        "metadata": {"strategy_name": "some_name"},
        "result": None,
        "error": {"reason": "too_few_bars", "message": "need more"},
    }


def test_operation_survives_the_wire_unchanged():
    document = OperationDocument.model_validate(_operation())
    assert OperationDocument.model_validate_json(document.model_dump_json()) == document


@settings(max_examples=30, deadline=None)
@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_time_is_written_in_utc_with_milliseconds_whatever_its_zone(naive, offset_minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    written = format_time(moment)
    assert len(written) == len("2017-05-01T08:00:00.000Z")
    assert written.endswith("Z")
    assert timedelta(0) <= moment - datetime.fromisoformat(written) < timedelta(milliseconds=1)


def test_time_without_a_zone_is_refused():
    document = OperationDocument.model_validate(_operation()).model_dump(mode="json")
    with pytest.raises(ValidationError, match="created_at"):
        OperationDocument.model_validate({**document, "created_at": "2026-11-22T18:20:50.329"})


@pytest.mark.parametrize(
    ("values", "name"),
    [({"seed": -1}, "seed"), ({"seed": 2**32}, "seed"), ({"sead": 1}, "sead"), ({"brief": "x" * 8001}, "brief")],
)
def test_request_that_a_user_got_wrong_is_refused_by_the_name_of_its_fault(values, name):
    with pytest.raises(InvalidInput, match=name):
        TriggerRequest.build(**values)
