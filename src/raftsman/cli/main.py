"""``raftsman``: the command line's entry, its table of commands, and the one place where errors become exit codes."""

import io
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from raftsman.cli.exits import Code, CommandFailed, code_of_error
from raftsman.cli.faults import say_error, say_problem
from raftsman.cli.lazy import LazyCommand, LazyGroup
from raftsman.cli.options import connection_options
from raftsman.errors import RaftsmanError

COMMANDS: Mapping[str, LazyCommand] = MappingProxyType(
    {
        "demo": LazyCommand(
            "raftsman.cli.demo", "Watch a cluster lose its leader and keep its work, in half a minute."
        ),
        "dev": LazyCommand("raftsman.cli.dev", "Run a cluster to play with, without any set-up."),
        "submit": LazyCommand("raftsman.cli.submit", "Submit tasks, from files or from options."),
        "get": LazyCommand("raftsman.cli.get", "List tasks, nodes or contexts."),
        "describe": LazyCommand("raftsman.cli.describe", "Tell all about one task."),
        "explain": LazyCommand("raftsman.cli.explain", "Explain where a task would run, or why nowhere."),
        "plan": LazyCommand("raftsman.cli.plan", "Explain where the tasks of files would run."),
        "wait": LazyCommand("raftsman.cli.wait", "Wait until tasks have ended."),
        "logs": LazyCommand("raftsman.cli.logs", "Show the output of a task."),
        "events": LazyCommand("raftsman.cli.events", "Show what changed, and when."),
        "cancel": LazyCommand("raftsman.cli.cancel", "End tasks before they end by themselves."),
        "retry": LazyCommand("raftsman.cli.retry", "Submit an ended task once more, as a new one."),
        "cluster": LazyCommand("raftsman.cli.cluster", "Look at the nodes together."),
        "log": LazyCommand("raftsman.cli.log", "Look at a stopped node's log on disk."),
        "context": LazyCommand("raftsman.cli.context", "Test the Kubernetes contexts of this machine's node."),
        "doctor": LazyCommand("raftsman.cli.doctor", "Look for what is wrong, from here to the contexts."),
        "config": LazyCommand("raftsman.cli.config", "Show the settings of a node, and who has set them."),
        "lint": LazyCommand("raftsman.cli.lint", "Check task files without a node."),
        "serve": LazyCommand("raftsman.cli.serve", "Run one node."),
        "completion": LazyCommand("raftsman.cli.completion", "Print what makes a shell complete commands."),
        "version": LazyCommand("raftsman.cli.version", "Show the versions of client and server."),
    }
)


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first look: raftsman get nodes, raftsman get contexts, raftsman submit --context C --image I -- CMD",
)
@connection_options
def raftsman() -> None:
    """Batch work on several Kubernetes clusters."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (of ``sys.argv`` when *arguments* is None) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # Output of tasks may hold what the terminal's encoding lacks.
    try:
        result = raftsman.main(arguments, prog_name="raftsman", standalone_mode=False)
    except CommandFailed as error:
        say_error(str(error))
        return error.code
    except RaftsmanError as error:
        say_problem(error)
        return code_of_error(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return Code.INTERRUPTED
    return result if isinstance(result, int) else Code.DONE


if __name__ == "__main__":
    sys.exit(main())
