"""A task's output on stdout, and on stderr what became of the rest of it."""

from raftsman.cli.words import out_unchanged, plain, say
from raftsman.client import LogCut, LogEnd, LogLine, LogRecord


def print_record(record: LogRecord, *, timestamps: bool = False) -> bool:
    """Print one record of output; return whether it shows that output was to be had."""
    match record:
        case LogLine():
            out_unchanged(f"{record.at} {record.line}" if timestamps else record.line)
            return True
        case LogCut():
            say(f"[{record.cut_bytes} bytes of output were not kept]")
            return False
        case LogEnd(end="complete"):
            return True
        case LogEnd():
            why = f": {plain(record.reason)}" if record.reason else ""
            what = "the output is not available" if record.end == "unavailable" else "the rest of the output was cut"
            say(f"[{what}{why}]")
            return False
