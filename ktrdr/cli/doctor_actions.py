"""What `ktrdr doctor` does."""

import asyncio

import typer

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.local_checks import local_findings
from ktrdr.cli.output import print_document, print_lines
from ktrdr.cli.session import host_app
from ktrdr.client.api_client import ApiClient
from ktrdr.clock import format_time
from ktrdr.config import Settings, load_settings
from ktrdr.connect.connection import Connection, connect
from ktrdr.errors import InvalidInput, KtrdrError, ServerUnreachable
from ktrdr.operations.operation import OperationStatus
from ktrdr.schemas.doctor import DoctorReport, Finding
from ktrdr.schemas.operations import OperationDocument
from ktrdr.schemas.workers import WorkerDocument, WorkerList

_MAX_LOOKED_AT = 200


def examine(as_json: bool) -> None:
    """Look at everything, print what was found.

    Raises:
        typer.Exit: Always, with code 1 if something is broken.
    """
    findings = asyncio.run(_findings())
    report = DoctorReport(healthy=all(each.status != "broken" for each in findings), findings=findings)
    if as_json:
        print_document(report)
    else:
        print_lines(line for finding in findings for line in _lines(finding))
        print_lines(["", "Nothing is broken." if report.healthy else "Something is broken: see above."])
    raise typer.Exit(ExitCode.OK if report.healthy else ExitCode.FAILED)


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.status:<8} {finding.check:<13} {' '.join(finding.message.split())}"]
    return lines if finding.fix is None else [*lines, f"{'':<23}fix: {finding.fix}"]


async def _findings() -> list[Finding]:
    try:
        settings = load_settings()
    except InvalidInput as error:
        fix = "correct it or unset it, then ask again: nothing else can be looked at"
        return [Finding(check="environment", status="broken", message=error.message, fix=fix)]
    return [*local_findings(settings), *await _service_findings(settings)]


async def _service_findings(settings: Settings) -> list[Finding]:
    """Ask the API, wherever it lives, for what only the database knows."""
    try:
        async with connect(settings, host_app, will_work=False) as connection:
            return [_server(connection), *await _database_findings(connection.client)]
    except ServerUnreachable as error:
        fix = "start it with `ktrdr serve`, or unset KTRDR_API_URL to work without one"
        return [Finding(check="server", status="broken", message=error.message, fix=fix)]
    except KtrdrError as error:
        fix = "see the message; `ktrdr` works as soon as the database does"
        return [Finding(check="database", status="broken", message=error.message, fix=fix)]


def _server(connection: Connection) -> Finding:
    where = "none: commands work without one" if connection.server_url is None else connection.server_url
    return Finding(check="server", status="ok", message=where)


async def _database_findings(client: ApiClient) -> list[Finding]:
    await client.readiness()
    found = [Finding(check="database", status="ok", message="reachable and migrated")]
    workers = await client.workers()
    found += [_worker(worker) for worker in workers.workers] or [_no_worker()]
    found += _queue_findings(workers)
    found += _ledger_findings([*(await client.leaderboard(limit=1)).ledger_faults, *(await client.exams()).faults])
    for status in (OperationStatus.RUNNING, OperationStatus.PENDING):
        page = await client.list_operations(status=status, limit=_MAX_LOOKED_AT)
        found += [_stalled(operation) for operation in page.operations if "stalled" in operation.metadata]
    return found


def _worker(worker: WorkerDocument) -> Finding:
    work = f"runs {', '.join(worker.running)}" if worker.running else "runs nothing"
    if worker.alive:
        place = f"on {worker.host} (process {worker.pid}, {worker.version}) serves {', '.join(worker.queues)}"
        return Finding(check="worker", status="ok", message=f"{worker.worker} {place} and {work}")
    seen = "nobody knows when" if worker.last_seen is None else format_time(worker.last_seen)
    return Finding(
        check="worker",
        status="warning",
        message=f"{worker.worker} is gone or silent, last seen {seen}; it {work}",
        fix="nothing, if a worker lives, which takes its work over; else start one: `ktrdr worker`",
    )


def _no_worker() -> Finding:
    return Finding(
        check="worker",
        status="ok",
        message="none lives: a command that needs one starts it, `ktrdr serve` and `ktrdr worker` keep one",
    )


def _queue_findings(workers: WorkerList) -> list[Finding]:
    return [
        Finding(
            check="queue",
            status="ok" if queue.served else "broken",
            message=f"{queue.waiting} operation(s) wait in {queue.queue}"
            + ("" if queue.served else ", nobody serves it"),
            fix=None if queue.served else f"start a worker: `ktrdr worker --queues {queue.queue}`",
        )
        for queue in workers.queues
        if queue.waiting
    ]


def _ledger_findings(faults: list[str]) -> list[Finding]:
    if not faults:
        return [Finding(check="ledgers", status="ok", message="every counted trial and look is as it was written")]
    fix = "restore the database from a backup: no count can be trusted, and no verdict that rests on one"
    return [Finding(check="ledgers", status="broken", message=fault, fix=fix) for fault in faults]


def _stalled(operation: OperationDocument) -> Finding:
    return Finding(
        check="operation",
        status="broken",
        message=f"{operation.operation_id} is stalled: {operation.metadata['stalled']}",
        fix=f"`ktrdr operations cancel {operation.operation_id}`, or a worker of that version",
    )
