"""What the API says of itself holds for whatever is sent to it: made-up requests, many of them wrong on purpose."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ktrdr.api.app import close_app, create_app
from ktrdr.clock import utc_now
from ktrdr.config import load_settings
from ktrdr.operations.store import OperationStore

# `--hypothesis-profile=thorough` (make fuzz) sends many more.
N_EXAMPLES = 300 if settings.get_current_profile_name() == "thorough" else 4
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The schema of an app with something in it."""
    folder = tmp_path_factory.mktemp("api")
    environment = {"KTRDR_WORKSPACE": str(folder), "KTRDR_API_MAX_UPLOAD_MB": "1"}
    app = create_app(load_settings(environment))
    store = OperationStore(app.state.composition.database, utc_now)
    for kind in ("training", "agent_research"):
        store.enqueue(kind, queue="none", payload={}, metadata={"seed": 1})
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers={"host": "127.0.0.1"})
    close_app(app)


def _operations(api):
    # A stream of events ends with its operation, and none ends here.
    return [found.ok() for found in api.exclude(path_regex="/events$").get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_every_answer_is_one_that_the_schema_describes(api, mode):
    faults = []
    for operation in _operations(api):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=N_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            case.call_and_validate(checks=CHECKS, headers={"host": "127.0.0.1"})

        try:
            check()
        except Unsatisfiable:
            continue  # nothing of it can be wrong: it takes no parameters
        except (FailureGroup, AssertionError) as fault:
            faults.append(f"{operation.label}: {fault}")
    assert not faults, "\n".join(faults)
