"""Logs: one JSON object a line, with the operation that the line is about."""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

# A worker keeps at most five such files.
MAX_FILE_BYTES, OLDER_FILES = 10 * 1024 * 1024, 4
_operation_id: ContextVar[str | None] = ContextVar("ktrdr_operation_id", default=None)
_job_logger = logging.getLogger("ktrdr.job")


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, operation and, of an error, its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        operation_id = _operation_id.get()
        if operation_id is not None:
            document["operation_id"] = operation_id
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


def log_to_file(path: Path, *, instead_of_stderr: bool) -> None:
    """Send this process's logs to a file of its own as well, or only there. Older lines move on to `path.1` and so on.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=MAX_FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler] if instead_of_stderr else [*root.handlers, handler]


@contextmanager
def logging_operation(operation_id: str) -> Iterator[None]:
    """Have all lines that are logged inside say which operation they are about, tasks and threads included."""
    token = _operation_id.set(operation_id)
    try:
        yield
    finally:
        _operation_id.reset(token)


def relay_line(line: str) -> str:
    """Log a line that a child process wrote to its stderr, as our own, and return its words.

    A child of ours writes lines of JSON too; what a library prints is logged as it stands.
    """
    try:
        document = json.loads(line)
        level, message = logging.getLevelNamesMapping()[document["level"].upper()], str(document["message"])
        logger, trace = str(document["logger"]), document.get("trace")
    except (ValueError, TypeError, KeyError, AttributeError):
        _job_logger.info("%s", line)
        return line
    logging.getLogger(logger).log(level, "%s", message, extra={} if trace is None else {"trace": str(trace)})
    return message
