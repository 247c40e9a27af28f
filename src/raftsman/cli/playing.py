"""What ``dev`` and ``demo`` share: the folder of a playground, its end by a signal, the words for its news."""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raftsman.cli.exits import Code, CommandFailed
from raftsman.cli.words import out, plain, say

if TYPE_CHECKING:
    from raftsman.node.playground.news import News, NodeGone

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOCK = "lock"


@contextmanager
def folder(directory: Path | None, *, prefix: str) -> Iterator[Path]:
    """Yield *directory*, or a temporary folder that is removed unless the command fails; either is held for us alone.

    Raises CommandFailed when another command holds the directory.
    """
    if directory is not None:
        with held(directory.absolute()) as place:
            yield place
        return
    try:
        made = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise CommandFailed(f"no temporary folder can be made: {error}") from error
    with held(made):  # Whoever reads its name in a terminal may try it with --dir.
        try:
            yield made
        except CommandFailed:
            say(f"the files are kept, the logs (*.log) among them: {made}")
            raise
        except BaseException:
            _remove(made)
            raise
        _remove(made)


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Yield *directory*, made if need be and held for us alone. Raises CommandFailed when another command holds it."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandFailed(f"the folder {directory} cannot be used: {error.strerror}") from error
    try:
        _lock(descriptor, directory)
        yield directory
    finally:
        os.close(descriptor)


def is_held(directory: Path) -> bool:
    """Return whether a command that runs holds *directory*."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Cancel the current asyncio task when a signal asks us to end; the cancellation stops at this context manager."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        task.uncancel()
    finally:
        for number in ENDING_SIGNALS:
            loop.remove_signal_handler(number)


def narrate(text: str = "") -> None:
    """Write a line to stdout; when nobody reads it any more, go on: others use what runs here."""
    with suppress(click.exceptions.Exit):
        out(text)


def stamped(text: str) -> str:
    """Return *text* behind the time of day."""
    return f"{time.strftime('%H:%M:%S')}  {text}"


def news_line(news: "News", *, logs: Path) -> str:
    """Return what has happened in a playground as a sentence; *logs* is its folder."""
    from raftsman.node.playground.news import KubernetesGone, LeaderChanged, NodeGone, NodeReady, NodeStarted

    match news:
        case LeaderChanged(leader=None):
            return "no node leads now"
        case LeaderChanged():
            return f"{news.leader} leads now (term {news.term})"
        case NodeGone():
            return _gone(news, logs)
        case NodeStarted(by_us=True):
            return f"{news.name} starts again (process {news.pid})"
        case NodeStarted():
            return f"{news.name} was started again by somebody else (process {news.pid})"
        case NodeReady():
            return f"{news.name} is back and has caught up"
        case KubernetesGone():
            what = ending(news.code)
            return f"the development Kubernetes {what}, and with it all Jobs; see {logs / 'kubernetes.log'}"


def ending(code: int | None) -> str:
    """Return how a process ended, as the rest of a sentence."""
    if code is None:
        return "has ended"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"has ended by itself with exit code {code}"


def path_hint() -> str:
    """Return what makes a shell find this ``raftsman``; "" when it finds it already."""
    here = Path(sys.executable).parent
    found = shutil.which("raftsman")
    if (found and Path(found).parent == here) or not (here / "raftsman").exists():
        return ""
    return f'export PATH="{here}:$PATH"'


def _gone(news: "NodeGone", logs: Path) -> str:
    if news.asked:
        what = f"{news.name} is killed (kill -9 {news.pid})"
    else:
        what = f"{news.name} {ending(news.code)} (process {news.pid}); see {logs / news.name}.log"
    if news.running * 2 > news.of:
        return what
    return f"{what}. {news.running} of {news.of} nodes run, which is no majority: nothing can be accepted"


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Ends with this process, however it ends.
    except BlockingIOError:
        what = f"another raftsman dev runs in {plain(directory)}: end it, or name another folder with --dir"
        raise CommandFailed(what, Code.CONFLICT) from None


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
