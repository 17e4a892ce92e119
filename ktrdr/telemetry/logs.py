"""Logs: one JSON object a line, with the operation that the line is about."""

import json
import logging
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ktrdr.errors import WorkspaceUnusable

# A worker keeps at most five such files.
MAX_FILE_BYTES, OLDER_FILES = 10 * 1024 * 1024, 4
_subject: ContextVar["LogSubject | None"] = ContextVar("ktrdr_log_subject", default=None)
_job_logger = logging.getLogger("ktrdr.job")


@dataclass(frozen=True, slots=True)
class LogSubject:
    """The operation that a line is about.

    Attributes:
        operation_id: The operation.
        trace_id: The trace in which it is told once it has ended.
        parent_id: What started it, None where nothing did.
        phase: Its type, where it is a phase of a cycle.
    """

    operation_id: str
    trace_id: str
    parent_id: str | None
    phase: str | None


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, what it is about and, of an error, its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": getattr(record, "job_process", record.process),
            "message": record.getMessage(),
        }
        subject = _subject.get()
        if subject is not None:
            document |= {name: value for name, value in asdict(subject).items() if value is not None}
        trace = getattr(record, "trace", None)
        if record.exc_info:
            trace = "".join(traceback.format_exception(*record.exc_info))
        if trace is not None:
            document["trace"] = trace
        return json.dumps(document, ensure_ascii=False)


def configure_logging(level: int = logging.INFO) -> None:
    """Send this process's logs to stderr, ours from `level` on, libraries' from WARNING on."""
    logging.raiseExceptions = False  # a disk that is full must not fill the terminal with traces
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ktrdr").setLevel(level)


def log_to_file(path: Path, *, instead_of_stderr: bool) -> logging.Handler:
    """Send this process's logs to a file as well, or only there, and return the handler that does it.

    Older lines move on to `path.1` and so on.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=MAX_FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler] if instead_of_stderr else [*root.handlers, handler]
    return handler


def api_log(folder: Path) -> Path:
    """Return the file in which this machine's servers log, and commands that serve themselves.

    Machines that share the folder write to a file each: two that append to one over a network lose lines.
    """
    return folder / f"api-{platform.node() or 'localhost'}.log"


@contextmanager
def also_logging_to(path: Path) -> Iterator[None]:
    """Have what is logged inside go to a file too, ours from INFO on.

    Raises:
        WorkspaceUnusable: The file cannot be written.
    """
    try:
        handler = log_to_file(path, instead_of_stderr=False)
    except OSError as error:
        raise WorkspaceUnusable(
            f"cannot write {path}: {error.strerror}. Check who owns the folder, or choose another with --workspace or "
            "KTRDR_WORKSPACE"
        ) from error
    ours = logging.getLogger("ktrdr")
    level = ours.level
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        logging.getLogger().removeHandler(handler)
        handler.close()


@contextmanager
def logging_about(subject: LogSubject) -> Iterator[None]:
    """Have all lines that are logged inside say what they are about, tasks and threads included."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


def relay_line(line: str) -> str:
    """Log a line that a child process wrote to its stderr, as our own, and return its words.

    A child of ours writes lines of JSON too; what a library prints is logged as it stands.
    """
    try:
        document = json.loads(line)
        level, message = logging.getLevelNamesMapping()[document["level"].upper()], str(document["message"])
        logger = str(document["logger"])
        extra: dict[str, int | str] = {"job_process": int(document["process"])}
        if "trace" in document:
            extra["trace"] = str(document["trace"])
    except (ValueError, TypeError, KeyError, AttributeError):
        _job_logger.info("%s", line)
        return line
    logging.getLogger(logger).log(level, "%s", message, extra=extra)
    return message
