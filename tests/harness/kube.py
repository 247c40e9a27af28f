"""Real Kubernetes for tests, through kubectl: namespaces, objects, and which Jobs there ever were.

Looks past raftsman, so that a test can compare what raftsman says with what Kubernetes has.
"""

import json
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from raftsman.executor.jobs import LABEL_ATTEMPT, LABEL_TASK
from tests.harness.nodes import eventually

Json = dict[str, Any]

IMAGE = "busybox:1.36"
"""Present in every registry, and small. Not ``latest``, which the kubelet asks the registry for every time."""
KUBECTL_S = 60.0
READY_S = 30.0


def new_id(story: str) -> str:
    """Return a task id that nobody has used."""
    return f"{story}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Kube:
    """One context of a kubeconfig."""

    kubeconfig: Path
    context: str

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a kubectl command in this context."""
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), "--context", self.context, *arguments]

    def run(self, *arguments: str, document: Json | None = None) -> str:
        """Run kubectl, with *document* as its input, and return what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            input=json.dumps(document) if document else None,
            capture_output=True,
            text=True,
            timeout=KUBECTL_S,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, kind: str, namespace: str, *options: str) -> list[Json]:
        """Return the objects of that kind."""
        items: list[Json] = json.loads(self.run("get", kind, "-n", namespace, "-o", "json", *options))["items"]
        return items

    def create(self, namespace: str, *documents: Json) -> None:
        """Create the objects."""
        self.run(
            "create",
            "--validate=false",
            "-n",
            namespace,
            "-f",
            "-",
            document={"apiVersion": "v1", "kind": "List", "items": documents},
        )

    @contextmanager
    def namespace(self, story: str) -> Iterator[str]:
        """Create a namespace that is ready for Pods, and have it deleted afterwards."""
        name = f"raftsman-test-{story}-{secrets.token_hex(4)}"
        self.run("create", "namespace", name)
        try:
            eventually(
                lambda: self.get("serviceaccounts", name, "--field-selector=metadata.name=default"),
                within_s=READY_S,
                what=f"namespace {name} has its service account",
            )
            yield name
        finally:
            self.run("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of a context: where the Jobs of a story are."""

    kube: Kube
    namespace: str

    @property
    def context(self) -> str:
        """The name that tasks call the context by."""
        return self.kube.context

    def task(self, task_id: str, *command: str, job: Mapping[str, object] | None = None, **more: object) -> Json:
        """Return a specification; *job* and *more* go before what is usual."""
        usual = {
            "clusterContext": self.context,
            "namespace": self.namespace,
            "image": IMAGE,
            "command": list(command) or ["true"],
        }
        return {"taskId": task_id, "type": "k8s_job", "k8sJob": usual | dict(job or {}), **more}

    def shell(self, task_id: str, script: str, job: Mapping[str, object] | None = None, **more: object) -> Json:
        """Return a specification of a script that ends soon after it is told to."""
        stopped_soon = {"podTemplate": {"spec": {"terminationGracePeriodSeconds": 1}}}
        return self.task(task_id, "sh", "-c", script, job=stopped_soon | dict(job or {}), **more)

    def jobs(self, task_id: str) -> list[Json]:
        """Return the Jobs of a task that are there."""
        return self.kube.get("jobs", self.namespace, f"--selector={LABEL_TASK}={task_id}")

    def job(self, task_id: str) -> Json:
        """Return the task's Job, once it is there."""
        (found,) = eventually(lambda: self.jobs(task_id), within_s=READY_S, what=f"a Job of {task_id}")
        return found

    def pods(self, task_id: str) -> list[Json]:
        """Return the Pods of a task that are there."""
        return self.kube.get("pods", self.namespace, f"--selector={LABEL_TASK}={task_id}")

    def pods_made(self) -> dict[str, int]:
        """Return how many Pods Kubernetes has made for each Job, by the Job's UID."""
        made: dict[str, int] = {}
        for event in self.kube.get("events", self.namespace, "--field-selector=reason=SuccessfulCreate"):
            uid = event["involvedObject"]["uid"]
            made[uid] = made.get(uid, 0) + int(event.get("count") or 1)
        return made


class JobWatch:
    """Every Job that was there in a place while this watched, also for a moment; use it as a context manager."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def uids(self) -> dict[tuple[str, str], set[str]]:
        """Return the UIDs of the Jobs that carried each (task id, attempt)."""
        with self._lock:
            return {key: set(uids) for key, uids in self._seen.items()}

    def __enter__(self) -> Self:
        arguments = ("get", "jobs", "-n", self._place.namespace, "--watch", "--output-watch-events", "-o", "json")
        self._process = subprocess.Popen(self._place.kube.command(*arguments), stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self._wait_until_it_sees()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=KUBECTL_S)
        self._reader.join()

    def _wait_until_it_sees(self) -> None:
        """Make a Job that never runs, and wait until it is seen: from then on nothing is missed."""
        name = f"watched-{secrets.token_hex(4)}"
        pod = {"restartPolicy": "Never", "containers": [{"name": "none", "image": IMAGE}]}
        job = {"suspend": True, "template": {"spec": pod}}
        document = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job}
        self._place.kube.create(self._place.namespace, document)
        eventually(lambda: name in self._names, within_s=READY_S, what="the watch sees a new Job")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._note(json.loads(line)["object"])

    def _note(self, job: Json) -> None:
        metadata = job["metadata"]
        labels = metadata.get("labels", {})
        with self._lock:
            self._names.add(metadata["name"])
            if LABEL_TASK in labels:
                key = (labels[LABEL_TASK], labels[LABEL_ATTEMPT])
                self._seen.setdefault(key, set()).add(metadata["uid"])


def contexts_of(kubeconfig: Path) -> list[str]:
    """Return the names of a kubeconfig's contexts."""
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "config", "get-contexts", "-o", "name"]
    return subprocess.run(command, capture_output=True, text=True, timeout=KUBECTL_S, check=True).stdout.split()
