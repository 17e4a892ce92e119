"""One method per route of the API; wire shapes in, wire shapes out."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from ktrdr.client.api_error import raise_for_error, raise_refusal
from ktrdr.errors import InvalidInput, ServerUnreachable
from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.agent import AgentStatus, BudgetDocument, TriedStrategies, TriggerAccepted, TriggerRequest
from ktrdr.schemas.document import Document, RequestBody
from ktrdr.schemas.health import Health, Readiness
from ktrdr.schemas.history import CycleHistory
from ktrdr.schemas.indicators import IndicatorList
from ktrdr.schemas.markets import FetchRequest, ImportDocument, MarketList, QualityDocument, QualityList
from ktrdr.schemas.operations import OperationDocument, OperationList, OperationLog, PruneRequest, PruneResult
from ktrdr.schemas.schedules import NewSchedule, ScheduleDocument, ScheduleList
from ktrdr.schemas.strategies import (
    BacktestRequest,
    DesignRequest,
    StrategyDetail,
    StrategyList,
    TrainingRequest,
    ValidationReport,
)
from ktrdr.schemas.vault import ExamList, ExamProspect, Leaderboard
from ktrdr.schemas.workers import WorkerList

PREFIX = "/api/v1"
_SCHEDULES = f"{PREFIX}/agent/schedules"
YAML_HEADERS = {"content-type": "application/yaml"}
Answer = TypeVar("Answer", bound=Document)
Parameters = Mapping[str, str | int | None]
# The server says something at least every 15 s, if only that it is there.
_STREAM_TIMEOUT = httpx.Timeout(45.0, connect=5.0)


class StreamRefused(Exception):
    """Something between us and the server, or an older server, does not stream events: ask again and again instead."""


class ApiClient:
    """Speaks to one server, or to an app in this process. `http` is closed by whoever opened it.

    Every method raises what the API raised on its side: NotFound, Conflict, InvalidInput, or KtrdrError for a
    failure of the server; and ServerUnreachable when nothing, or something else, answers.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def health(self) -> Health:
        """Ask whether the server lives, and for which workspace."""
        return _read(Health, await self._send("GET", "/health"))

    async def readiness(self) -> Readiness:
        """Ask whether the server can do anything, and how many workers there are."""
        return _read(Readiness, await self._send("GET", "/ready"))

    async def trigger(self, request: TriggerRequest) -> TriggerAccepted:
        """Start a research cycle."""
        response = await self._send("POST", f"{PREFIX}/agent/trigger", body=request, may_refuse=True)
        if response.status_code == 409:
            raise_refusal(response)
        return _read(TriggerAccepted, response)

    async def agent_status(self) -> AgentStatus:
        """Ask what the agent does now."""
        return _read(AgentStatus, await self._send("GET", f"{PREFIX}/agent/status"))

    async def agent_budget(self, days: int) -> BudgetDocument:
        """Ask what LLM calls cost in the last `days` days, and what is left of today."""
        return _read(BudgetDocument, await self._send("GET", f"{PREFIX}/agent/budget", parameters={"days": days}))

    async def history(self, *, limit: int = 50, cursor: str | None = None) -> CycleHistory:
        """Return a page of cycles that have ended, newest first."""
        parameters: Parameters = {"limit": limit, "cursor": cursor}
        return _read(CycleHistory, await self._send("GET", f"{PREFIX}/agent/history", parameters=parameters))

    async def agent_memory(self, limit: int) -> TriedStrategies:
        """Return what was tried last and how it ended, newest first."""
        return _read(TriedStrategies, await self._send("GET", f"{PREFIX}/agent/memory", parameters={"limit": limit}))

    async def schedules(self) -> ScheduleList:
        """Return all schedules, oldest first."""
        return _read(ScheduleList, await self._send("GET", _SCHEDULES))

    async def add_schedule(self, request: NewSchedule) -> ScheduleDocument:
        """Make a schedule."""
        return _read(ScheduleDocument, await self._send("POST", _SCHEDULES, body=request))

    async def pause_schedule(self, schedule: str) -> ScheduleDocument:
        """Pause the schedule of an id or name."""
        return _read(ScheduleDocument, await self._send("POST", f"{_SCHEDULES}/{_segment(schedule)}/pause"))

    async def resume_schedule(self, schedule: str) -> ScheduleDocument:
        """Resume the schedule of an id or name, its failures forgiven."""
        return _read(ScheduleDocument, await self._send("POST", f"{_SCHEDULES}/{_segment(schedule)}/resume"))

    async def remove_schedule(self, schedule: str) -> ScheduleDocument:
        """Remove the schedule of an id or name; what it was is returned."""
        return _read(ScheduleDocument, await self._send("DELETE", f"{_SCHEDULES}/{_segment(schedule)}"))

    async def list_operations(
        self,
        *,
        type: str | None = None,
        status: OperationStatus | None = None,
        parent_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> OperationList:
        """Return a page of operations, newest first."""
        parameters: Parameters = {
            "type": type,
            "status": None if status is None else status.value,
            "parent_id": parent_id,
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
            "limit": limit,
            "cursor": cursor,
        }
        return _read(OperationList, await self._send("GET", f"{PREFIX}/operations", parameters=parameters))

    async def operation(self, operation_id: str) -> OperationDocument:
        """Return one operation."""
        return _read(OperationDocument, await self._send("GET", _operation_path(operation_id)))

    async def children(self, operation_id: str, *, limit: int = 50, cursor: str | None = None) -> OperationList:
        """Return a page of the operations that one started, oldest first."""
        path = f"{_operation_path(operation_id)}/children"
        return _read(OperationList, await self._send("GET", path, parameters={"limit": limit, "cursor": cursor}))

    async def log(self, operation_id: str, *, limit: int = 200, cursor: str | None = None) -> OperationLog:
        """Return a page of what was logged about an operation and all it started, oldest first."""
        path = f"{_operation_path(operation_id)}/logs"
        return _read(OperationLog, await self._send("GET", path, parameters={"limit": limit, "cursor": cursor}))

    async def prune(self, request: PruneRequest) -> PruneResult:
        """Forget operations that ended long ago."""
        path = f"{PREFIX}/operations/prune"
        return _read(PruneResult, await self._send("POST", path, body=request, is_long=True))

    async def events(self, operation_id: str) -> AsyncIterator[OperationDocument]:
        """Yield an operation now and after every change, until it has ended or the server ends.

        Raises:
            StreamRefused: What answers does not stream events.
            ServerUnreachable: Nothing answers, or no more.
        """
        request = self._http.build_request("GET", f"{_operation_path(operation_id)}/events", timeout=_STREAM_TIMEOUT)
        response = await self._exchange(request, stream=True)
        try:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                await response.aread()
                raise_for_error(response)
                raise StreamRefused
            async for line in response.aiter_lines():
                if line.startswith("data:"):  # one line an event; what else there is keeps the connection alive
                    yield _parse(OperationDocument, line[5:].encode(), request)
        except httpx.TransportError as error:
            raise _unreachable(request, error) from error
        finally:
            await response.aclose()

    async def cancel(self, operation_id: str) -> OperationDocument:
        """Cancel an operation and its children."""
        return _read(OperationDocument, await self._send("POST", f"{_operation_path(operation_id)}/cancel"))

    async def resume(self, operation_id: str) -> OperationDocument:
        """Set a cancelled or interrupted operation going again."""
        return _read(OperationDocument, await self._send("POST", f"{_operation_path(operation_id)}/resume"))

    async def retry(self, operation_id: str) -> OperationDocument:
        """Try a failed operation again."""
        return _read(OperationDocument, await self._send("POST", f"{_operation_path(operation_id)}/retry"))

    async def workers(self) -> WorkerList:
        """Return who works on what, and what waits."""
        return _read(WorkerList, await self._send("GET", f"{PREFIX}/workers"))

    async def strategies(self, *, limit: int = 50, cursor: str | None = None) -> StrategyList:
        """Return a page of stored strategies, newest first."""
        parameters: Parameters = {"limit": limit, "cursor": cursor}
        return _read(StrategyList, await self._send("GET", f"{PREFIX}/strategies", parameters=parameters))

    async def strategy(self, name: str) -> StrategyDetail:
        """Return one strategy with its results."""
        return _read(StrategyDetail, await self._send("GET", f"{PREFIX}/strategies/{_segment(name)}"))

    async def strategy_report(self, name: str) -> bytes:
        """Return the page about a strategy, HTML, and have it put beside the strategy's other files."""
        return (await self._send("GET", f"{PREFIX}/strategies/{_segment(name)}/report")).content

    async def validate_strategy(self, text: bytes) -> ValidationReport:
        """Return every fault of a strategy file."""
        return _read(ValidationReport, await self._send("POST", f"{PREFIX}/strategies/validate", yaml=text))

    async def add_strategy(self, text: bytes) -> StrategyDetail:
        """Store a strategy file."""
        return _read(StrategyDetail, await self._send("POST", f"{PREFIX}/strategies", yaml=text))

    async def add_design(self, request: DesignRequest) -> StrategyDetail:
        """Store a strategy that an agent designed, with who made it."""
        return _read(StrategyDetail, await self._send("POST", f"{PREFIX}/strategies/designs", body=request))

    async def reproduce(self, name: str) -> OperationDocument:
        """Start doing a strategy's work again."""
        return _read(OperationDocument, await self._send("POST", f"{PREFIX}/strategies/{_segment(name)}/reproduce"))

    async def leaderboard(self, *, limit: int | None = None, cursor: str | None = None) -> Leaderboard:
        """Return a page of the ranking."""
        parameters: Parameters = {"limit": limit, "cursor": cursor}
        return _read(Leaderboard, await self._send("GET", f"{PREFIX}/leaderboard", parameters=parameters))

    async def exams(self) -> ExamList:
        """Return all looks at sealed bars."""
        return _read(ExamList, await self._send("GET", f"{PREFIX}/vault"))

    async def exam_prospect(self, name: str) -> ExamProspect:
        """Return what an exam would be."""
        return _read(ExamProspect, await self._send("GET", f"{PREFIX}/vault/{_segment(name)}"))

    async def open_vault(self, name: str) -> OperationDocument:
        """Start the one exam of a candidate."""
        return _read(OperationDocument, await self._send("POST", f"{PREFIX}/vault/{_segment(name)}"))

    async def train(self, request: TrainingRequest) -> OperationDocument:
        """Start a training."""
        return _read(OperationDocument, await self._send("POST", f"{PREFIX}/training", body=request))

    async def backtest(self, request: BacktestRequest) -> OperationDocument:
        """Start a backtest."""
        return _read(OperationDocument, await self._send("POST", f"{PREFIX}/backtests", body=request))

    async def indicators(self) -> IndicatorList:
        """Return what a strategy file may use."""
        return _read(IndicatorList, await self._send("GET", f"{PREFIX}/indicators"))

    async def markets(self, *, limit: int = 50, cursor: str | None = None) -> MarketList:
        """Return a page of stored series."""
        parameters: Parameters = {"limit": limit, "cursor": cursor}
        return _read(MarketList, await self._send("GET", f"{PREFIX}/markets", parameters=parameters))

    async def install_samples(self) -> MarketList:
        """Store the bundled samples."""
        return _read(MarketList, await self._send("POST", f"{PREFIX}/markets/samples"))

    async def market_quality(self, symbol: str | None, timeframe: str | None) -> QualityList:
        """Return the quality reports of all series, or of a symbol's."""
        parameters: Parameters = {"symbol": symbol, "timeframe": timeframe}
        return _read(QualityList, await self._send("GET", f"{PREFIX}/markets/quality", parameters=parameters))

    async def accept_findings(self, symbol: str, timeframe: str) -> QualityDocument:
        """Let research use a series whatever its report found."""
        path = f"{_market_path(symbol, timeframe)}/accept-findings"
        return _read(QualityDocument, await self._send("POST", path))

    async def adjust_market(self, symbol: str, timeframe: str, path: Path) -> ImportDocument:
        """Send a file of splits and dividends; raises OSError where it cannot be read."""
        return await self._upload(f"{_market_path(symbol, timeframe)}/adjust", path, {})

    async def fetch_market(self, request: FetchRequest) -> OperationDocument:
        """Start loading bars from a provider."""
        return _read(OperationDocument, await self._send("POST", f"{PREFIX}/markets/fetch", body=request))

    async def import_market(self, path: Path, fields: Mapping[str, str | None]) -> ImportDocument:
        """Send a file of bars; `fields` are symbol, timeframe and what else is known of it.

        Raises:
            OSError: The file cannot be read.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        return await self._upload(f"{PREFIX}/markets/import", path, given)

    async def _upload(self, route: str, path: Path, given: Mapping[str, str]) -> ImportDocument:
        with path.open("rb") as file:
            response = await self._exchange(
                self._http.build_request(
                    "POST",
                    route,
                    files={"file": (path.name, file)},
                    data=dict(given),
                    timeout=None,  # reading and checking a large file takes as long as it takes
                )
            )
        raise_for_error(response)
        return _read(ImportDocument, response)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: RequestBody | None = None,
        yaml: bytes | None = None,
        may_refuse: bool = False,
        is_long: bool = False,
    ) -> httpx.Response:
        request = self._http.build_request(
            method,
            path,
            timeout=None if is_long else httpx.USE_CLIENT_DEFAULT,
            params={name: value for name, value in (parameters or {}).items() if value is not None},
            json=None if body is None else body.model_dump(mode="json", exclude_none=True),
            content=yaml,
            headers=None if yaml is None else YAML_HEADERS,
        )
        response = await self._exchange(request)
        if not (may_refuse and response.status_code == 409):
            raise_for_error(response)
        return response

    async def _exchange(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            return await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise _unreachable(request, error) from error


def _operation_path(operation_id: str) -> str:
    return f"{PREFIX}/operations/{_segment(operation_id)}"


def _market_path(symbol: str, timeframe: str) -> str:
    return f"{PREFIX}/markets/{_segment(symbol)}/{_segment(timeframe)}"


def _segment(name: str) -> str:
    """Return a name as one path segment: what a user typed must not become another route."""
    if not name or "/" in name or name in (".", ".."):  # dots would be resolved, quoted or not
        raise InvalidInput(f"{name[:80]!r} is no name or id: it must not be empty, hold a '/' or be dots alone")
    return quote(name, safe="")


def _unreachable(request: httpx.Request, error: httpx.TransportError) -> ServerUnreachable:
    address = f"{request.url.scheme}://{request.url.netloc.decode()}"
    return ServerUnreachable(
        f"nothing answers at {address} ({_words(error)}). Start it with `ktrdr serve`, check KTRDR_API_URL, "
        "or unset KTRDR_API_URL to work without a server"
    )


def _words(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _read(kind: type[Answer], response: httpx.Response) -> Answer:
    return _parse(kind, response.content, response.request)


def _parse(kind: type[Answer], content: bytes, request: httpx.Request) -> Answer:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise ServerUnreachable(
            f"{request.url} answered with something that is not a {kind.__name__} ({error.error_count()} "
            "faults). Is it another program, or another version of ktrdr? Check KTRDR_API_URL"
        ) from None
