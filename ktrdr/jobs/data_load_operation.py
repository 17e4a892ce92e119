"""The operation `data_load`: pages from a provider, then an import."""

import hashlib
import logging
from datetime import UTC, datetime

from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.clock import Clock
from ktrdr.config import Settings
from ktrdr.errors import Conflict, InvalidInput
from ktrdr.jobs.data_load_job import DataLoadRequest
from ktrdr.jobs.repeated_job import run_repeated_job
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.market.calendar import resolve_calendar
from ktrdr.market.series import normal_symbol
from ktrdr.market.timeframe import Timeframe
from ktrdr.operations.lineage import log_subject
from ktrdr.operations.operation import Operation
from ktrdr.operations.runtime import COMPUTE_QUEUE, Body
from ktrdr.operations.store import TRIGGER_LOCK, OperationStore
from ktrdr.operations.work import Payload, Work
from ktrdr.providers.catalogue import check_provider
from ktrdr.telemetry.logs import logging_about

DATA_LOAD = "data_load"
PAGES_PREFIX = "pages_"
_JOB = "ktrdr.jobs.data_load"
_logger = logging.getLogger(__name__)


def data_load_operation(services: LaboratoryServices) -> Body:
    """Return the body of `data_load`. What was loaded before a failure is kept for the next one of the same bars."""

    async def body(work: Work, document: Payload) -> JsonValue:
        request = DataLoadRequest.model_validate(document)
        loaded = await run_repeated_job(services, work, DATA_LOAD, _JOB, request.model_dump())

        def discard() -> None:
            discard_attempt(loaded.attempt)
            discard_attempt(loaded.attempt.parent / request.pages)

        await work.step("discard", discard)
        return loaded.result

    return body


def start_data_load(
    operations: OperationStore,
    settings: Settings,
    clock: Clock,
    *,
    provider: str,
    symbol: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    store_as: str | None,
    calendar: str | None,
    replace: bool,
    accept_findings: bool,
) -> Operation:
    """Enqueue the loading of bars; `end` is now where it is None.

    Raises:
        InvalidInput: An option is wrong, or the provider's library is not installed (`provider_missing`).
        Conflict: The same bars are being loaded already (`fetch_busy`).
    """
    start_ms, end_ms = _epoch_ms(start), _epoch_ms(end or clock())
    if start_ms >= end_ms:
        raise InvalidInput(f"need a start before the end, were {start} and {end or 'now'}")
    key = "\n".join([check_provider(provider), symbol, Timeframe.parse(timeframe), str(start_ms)])
    pages = f"{PAGES_PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    request = DataLoadRequest(
        provider=provider,
        symbol=symbol,
        store_as=normal_symbol(store_as or symbol),
        timeframe=timeframe,
        start_ms=start_ms,
        end_ms=end_ms,
        calendar=None if calendar is None else resolve_calendar(calendar),
        replace=replace,
        accept_findings=accept_findings,
        pages=pages,
    )
    metadata: Payload = {"provider": provider, "symbol": symbol, "timeframe": timeframe, "pages": pages}
    with operations.exclusive_lock(TRIGGER_LOCK):
        refuse_busy_pages(operations, pages)
        operation = operations.enqueue(DATA_LOAD, queue=COMPUTE_QUEUE, payload=request.model_dump(), metadata=metadata)
    with logging_about(log_subject(operations, operation)):
        _logger.info("operation %s was asked for: %s from %s", operation.operation_id, symbol, provider)
    return operation


def refuse_busy_pages(operations: OperationStore, pages: str) -> None:
    """Keep two operations from loading the same bars. Hold the trigger's lock from here until one does.

    Raises:
        Conflict: One does so now (`fetch_busy`).
    """
    for operation in operations.active(DATA_LOAD):
        if operation.metadata.get("pages") == pages:
            raise Conflict(
                f"{operation.operation_id} loads these bars already; wait for it or cancel it",
                reason="fetch_busy",
                operation_id=operation.operation_id,
            )


def _epoch_ms(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
