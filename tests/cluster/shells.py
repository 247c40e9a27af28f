"""Shell tasks on real nodes: submitting them and looking at what became of them."""

from pathlib import Path
from typing import Any

from tests.cluster.asking import NDJSON, Json, ask, get
from tests.harness.nodes import NodeGroup, NodeProcess, eventually

TOML = "[executor]\nallow_shell = true\nslots = 4\n"


def submit(node: NodeProcess, task_id: str, command: str, *, on: str | None = None, **more: Any) -> Json:
    """Submit a shell task, for the node named *on* when there is one."""
    directory = more.pop("directory", None)
    block = {"command": command, **({"workingDirectory": str(directory)} if directory else {})}
    target = {"targetNodes": [on]} if on else {}
    answer = ask(node, "POST", "/v1/tasks", {"taskId": task_id, "type": "shell", "shell": block, **target, **more})
    assert answer.status == 201, answer
    task: Json = answer.json
    return task


def row(node: NodeProcess, task_id: str) -> Json:
    """Return the task as *node* knows it."""
    task: Json = get(node, f"/v1/tasks/{task_id}").json
    return task


def until_state(node: NodeProcess, task_id: str, state: str, within_s: float = 15.0) -> Json:
    """Wait until the task is in *state*, and return it."""

    def look() -> Json | None:
        task = row(node, task_id)
        return task if task["state"] == state else None

    return eventually(look, within_s=within_s, what=f"{task_id} is {state}")


def until_ended(node: NodeProcess, task_id: str, within_s: float = 15.0) -> Json:
    """Wait until the task has ended, and return it."""

    def look() -> Json | None:
        task = row(node, task_id)
        return task if task["state"] in ("completed", "failed", "cancelled") else None

    return eventually(look, within_s=within_s, what=f"{task_id} has ended")


def lines(node: NodeProcess, task_id: str, query: str = "") -> list[tuple[str, str]]:
    """Return the output that *node* serves: (stream, line)."""
    records = get(node, f"/v1/tasks/{task_id}/logs{query}", Accept=NDJSON).lines
    return [(each["stream"], each["line"]) for each in records if "line" in each]


def pid_in(file: Path, within_s: float = 15.0) -> int:
    """Return the process id that a command writes into *file*, once it is there."""
    text = eventually(
        lambda: file.read_text() if file.exists() and file.read_text().endswith("\n") else None,
        within_s=within_s,
        what=f"a command writes {file.name}",
    )
    return int(text)


def events(group: NodeGroup, task_id: str) -> list[tuple[str, tuple[str, ...], str | None]]:
    """Return the task's changes: (state, conditions, cause)."""
    found = group.client().events(task_id)
    return [(each["to"], tuple(each["conditions"]), each["cause"]) for each in found]
