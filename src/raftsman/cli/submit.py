"""``raftsman submit``: tasks from files, or one from options; then their ids, or their output."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from raftsman.cli.exits import Code, code_of_error, code_of_task
from raftsman.cli.faults import say_problem, saying_what_was_submitted
from raftsman.cli.following import follow_task
from raftsman.cli.options import connection_options, duration_ms, label_pairs, open_client
from raftsman.cli.specfile import FileTask, read_tasks
from raftsman.cli.words import is_terminal, out, plain, say
from raftsman.client import Client
from raftsman.errors import Conflict, InvalidSpec, RaftsmanError
from raftsman.ulid import new_task_id
from raftsman.wire.views import TaskView

_COMMAND = "raftsman.submit.command"

Json = dict[str, Any]


class _WithCommand(click.Command):
    """A command whose words behind ``--`` belong to somebody else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            args, ctx.meta[_COMMAND] = args[:place], args[place + 1 :]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if _COMMAND in ctx.meta or error.possibilities:
                raise
            hint = "When it belongs to the command of the task, write -- before that command."
            raise click.UsageError(f"{error.message} {hint}", ctx) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What the options say about one Job; None and empty where they say nothing."""

    context: str | None
    image: str | None
    namespace: str | None
    environment: Mapping[str, str]
    task_id: str | None
    labels: Mapping[str, str]
    cpu: str | None
    memory: str | None
    gpu: int | None
    service_account: str | None
    timeout_ms: int | None
    start_timeout_ms: int | None
    priority: int | None
    prefer_local: bool
    command: tuple[str, ...]

    def spec(self) -> Json:
        """Return the task as HTTP takes it."""
        resources = _given(cpu=self.cpu, memory=self.memory, gpuCount=self.gpu)
        job = _given(
            clusterContext=self.context,
            image=self.image,
            namespace=self.namespace,
            command=list(self.command),
            serviceAccountName=self.service_account,
            resources=resources,
        )
        constraints = {"preferLocal": True} if self.prefer_local else {}
        return {"type": "k8s_job", "k8sJob": job} | _given(
            taskId=self.task_id,
            environment=dict(self.environment),
            labels=dict(self.labels),
            timeoutMs=self.timeout_ms,
            startTimeoutMs=self.start_timeout_ms,
            priority=self.priority,
            constraints=constraints,
        )

    @property
    def any_given(self) -> bool:
        """Whether the options describe a task at all."""
        return len(self.spec()) > 2 or bool(self.spec()["k8sJob"])


def _given(**members: object) -> Json:
    return {name: value for name, value in members.items() if value is not None and value not in ([], {})}


@click.command(name="submit", cls=_WithCommand, options_metavar="FILE... | --context C --image I [OPTIONS] [-- CMD...]")
@click.argument("files", nargs=-1, metavar="")
@click.option("--context", metavar="NAME", help="The Kubernetes cluster that the Job is for.")
@click.option("--image", metavar="IMAGE", help="The image to run.")
@click.option("-n", "--namespace", metavar="NAME", help="The namespace of the Job (the context's default).")
@click.option("-e", "--env", "environment", multiple=True, metavar="K=V", callback=label_pairs, help="Environment.")
@click.option("--id", "task_id", metavar="ID", help="The task's id; the same id and task again is the same task.")
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", callback=label_pairs, help="raftsman's labels.")
@click.option("--cpu", metavar="QUANTITY", help="Processor: 2, 500m.")
@click.option("--memory", metavar="QUANTITY", help="Memory: 8Gi.")
@click.option("--gpu", type=click.IntRange(min=0), metavar="N", help="GPUs.")
@click.option("--service-account", metavar="NAME", help="The account that the Pod runs under.")
@click.option("--timeout", "timeout_ms", callback=duration_ms, metavar="DURATION", help="Of an attempt (10m); 0: none.")
@click.option(
    "--start-timeout", "start_timeout_ms", callback=duration_ms, metavar="DURATION", help="Until it runs (15m)."
)
@click.option("--priority", type=int, metavar="N", help="-100 … 100, higher first.")
@click.option("--prefer-local", is_flag=True, help="Prefer the node that takes the submission.")
@click.option("--follow/--detach", default=None, help="Stream the output, or print the id only (off a terminal).")
@click.option("--task-exit-code", is_flag=True, help="End with the exit code of the task.")
@connection_options
def command(files: tuple[str, ...], *, follow: bool | None, task_exit_code: bool, **given: Any) -> None:
    """Submit tasks: from YAML or JSON files (- is stdin), or one from options.

    On a terminal the output is shown until the task has ended, and the exit code says how; otherwise the id is printed.
    """
    specs = _specs(files, given)
    client = open_client()
    submitted, code = _submit_all(client, specs)
    if follow is None:
        follow = is_terminal(sys.stdout)
    if not follow and not task_exit_code:
        for task in submitted:
            out(task["taskId"])
        raise click.exceptions.Exit(code)
    raise click.exceptions.Exit(_follow_all(client, submitted, code, task_exit_code=task_exit_code))


def _specs(files: tuple[str, ...], given: Json) -> list[tuple[FileTask | None, Json]]:
    """Return the tasks, those of files with their origins."""
    words = tuple(click.get_current_context().meta.get(_COMMAND, ()))
    options = JobOptions(command=words, **given)
    if files and options.any_given:
        raise click.UsageError("a task comes from a file or from options, not from both (a command stands behind --)")
    if not files:
        if options.context is None or options.image is None:
            raise click.UsageError("name a FILE, or --context and --image")
        return [(None, options.spec())]

    return [(task, task.spec) for file in files for task in read_tasks(file)]


def _submit_all(client: Client, specs: list[tuple[FileTask | None, Json]]) -> tuple[list[TaskView], int]:
    """Submit one task after the other; what is wrong with one of them does not keep the others out."""
    submitted: list[TaskView] = []
    code: int = Code.DONE
    for origin, spec in specs:
        task_id = str(spec.get("taskId") or new_task_id())
        try:
            submitted.append(client.submit({**spec, "taskId": task_id}))
        except (InvalidSpec, Conflict) as problem:
            if origin and not problem.errors:
                say(f"{plain(origin.name)}:")
            say_problem(problem, where=origin.where if origin else str)
            code = code or code_of_error(problem)
        except (RaftsmanError, KeyboardInterrupt) as error:
            for task in submitted:
                out(task["taskId"])  # Whoever repeats the rest must know what is in already.
            if isinstance(error, KeyboardInterrupt):
                say(f"\ninterrupted; whether task {task_id} was taken is not known (raftsman get tasks {task_id})")
            raise
    return submitted, code


def _follow_all(client: Client, submitted: list[TaskView], code: int, *, task_exit_code: bool) -> int:
    """Follow the tasks one after the other; return the first exit code that is not 0."""
    for place, task in enumerate(submitted):
        with saying_what_was_submitted(*(each["taskId"] for each in submitted[place:])):
            ended = follow_task(client, task["taskId"])
        own = ended["exitCode"]
        uses_own = task_exit_code and own is not None and own >= 0 and ended["state"] != "cancelled"
        code = code or (own if uses_own and own is not None else code_of_task(ended))
    return code
