"""A terminal as a reader of the pages has one: what is exported in it stays, and programs see that a person looks."""

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path

COMMAND_S = 60.0
END_S = 15.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command printed, stdout and stderr as they came, and its exit code."""

    code: int
    said: str


@dataclass(slots=True)
class Running:
    """A command that was started and goes on; *said* grows meanwhile."""

    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self.output.read_text(errors="replace")

    def press(self, key: str) -> None:
        """Type a key."""
        assert self.process.stdin is not None
        self.process.stdin.write(key.encode())
        self.process.stdin.flush()

    def end(self) -> int:
        """End it with SIGTERM if it still runs, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=END_S)


@dataclass(slots=True)
class Terminal:
    """One terminal, with its working directory and its variables."""

    directory: Path
    variables: Mapping[str, str]
    _typed: list[str] = field(default_factory=list)
    """What changes the shell itself, and is typed again before every command."""

    def run(self, command: str, *, timeout_s: float = COMMAND_S) -> Outcome:
        """Type a command, and wait until it has ended. Raises subprocess.TimeoutExpired."""
        master, slave = pty.openpty()
        with os.fdopen(master, "rb", buffering=0) as screen:
            process = subprocess.Popen(
                self._words(command),
                cwd=self.directory,
                env=self.variables,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
            os.close(slave)
            chunks: list[bytes] = []
            reader = threading.Thread(target=_read, args=(screen, chunks))
            reader.start()
            try:
                code = process.wait(timeout=timeout_s)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                reader.join(timeout=END_S)
        if code == 0 and command.startswith(("export ", "eval ")):
            self._typed.append(command)
        return Outcome(code, b"".join(chunks).decode(errors="replace").replace("\r\n", "\n"))

    def start(self, command: str, output: Path) -> Running:
        """Type a command that goes on; what it prints goes into the file *output*. The caller ends it."""
        with output.open("wb") as out:
            process = subprocess.Popen(
                self._words(f"exec {command}"),
                cwd=self.directory,
                env=self.variables,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
            )
        return Running(process, output)

    def _words(self, command: str) -> list[str]:
        return ["bash", "--norc", "--noprofile", "-c", "\n".join([*self._typed, command])]


def _read(screen: RawIOBase, chunks: list[bytes]) -> None:
    with suppress(OSError):  # How Linux says that nobody is left who could write to it.
        while chunk := screen.read(65536):
            chunks.append(chunk)
