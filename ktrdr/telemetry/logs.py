"""Logs: one JSON object a line on stderr."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message and, of an error, its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(document, ensure_ascii=False)


def configure_logging(level: int = logging.INFO) -> None:
    """Send this process's logs to stderr, ours from `level` on, libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ktrdr").setLevel(level)
