"""Whether a Pod has a place on the one node there is.

Pure. The node is imaginary and large, so that ordinary requests fit on a laptop and absurd ones do not; nothing is
counted together, for requests reserve nothing of a local process. The sentences are the scheduler's.
"""

import platform
from fractions import Fraction

from raftsman.executor.sandbox import quantities
from raftsman.executor.sandbox.answers import Json

NODE = "sandbox"
CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "nvidia.com/gpu": "8"}
LABELS = {
    "kubernetes.io/hostname": NODE,
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
}
_NO_HELP = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def unschedulable(spec: Json) -> tuple[str, str] | None:
    """Return reason and message of why a Pod has no place, or None when it has one."""
    if spec.get("schedulingGates"):
        return "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
    wanted = (spec.get("nodeSelector") or {}).items()
    if any(LABELS.get(key) != value for key, value in wanted):
        return _refusal("1 node(s) didn't match Pod's node affinity/selector.")
    short = [name for name, share in _requests(spec).items() if share > _capacity(name)]
    if short:
        return _refusal(f"{', '.join(f'1 Insufficient {name}' for name in sorted(short))}.")
    return None


def _requests(spec: Json) -> dict[str, Fraction]:
    """Return what the containers request together."""
    total: dict[str, Fraction] = {}
    for container in spec["containers"]:
        for name, share in (container["resources"].get("requests") or {}).items():
            total[name] = total.get(name, Fraction(0)) + quantities.parse(share)
    return total


def _capacity(name: str) -> Fraction:
    return quantities.parse(CAPACITY.get(name, "0"))


def _refusal(why: str) -> tuple[str, str]:
    return "Unschedulable", f"0/1 nodes are available: {why} no new claims to deallocate, {_NO_HELP}"
