"""How a node speaks on stderr: readable on a terminal, one JSON object a line otherwise."""

import json
import logging
import sys
from datetime import UTC, datetime

READABLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a line, for whoever collects logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(*, level: str, style: str) -> None:
    """Send the process's log to stderr. *style* is text, json, or auto: text on a terminal only."""
    handler = logging.StreamHandler(sys.stderr)
    readable = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(logging.Formatter(READABLE) if readable else JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)  # Its errors reach us as exceptions, and we say them.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
