"""What holds for every run of the tests: those on Kubernetes are never left out silently."""

import os
import shutil

import pytest

KUBECONFIG = "RAFTSMAN_TEST_KUBECONFIG"
REQUIRE = "RAFTSMAN_TEST_REQUIRE_KUBERNETES"
HOW = f"set {KUBECONFIG} to a kubeconfig whose contexts may run Pods"
NO_KUBECTL = "install kubectl, which looks past raftsman at what Kubernetes has"

_left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests on Kubernetes when there is none; fail instead when it is required."""
    on_kubernetes = [item for item in items if item.get_closest_marker("kubernetes")]
    config.stash[_left_out] = 0
    missing = _what_is_missing()
    if missing is None or not on_kubernetes:
        return
    if os.environ.get(REQUIRE):
        raise pytest.UsageError(f"{REQUIRE} is set and there is no Kubernetes: {missing}")
    config.stash[_left_out] = len(on_kubernetes)
    for item in on_kubernetes:
        item.add_marker(pytest.mark.skip(reason=missing))


def _what_is_missing() -> str | None:
    """Return what keeps the tests on Kubernetes from running; None when nothing does."""
    if not os.environ.get(KUBECONFIG):
        return HOW
    return None if shutil.which("kubectl") else NO_KUBECTL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out where nobody overlooks it."""
    count = config.stash.get(_left_out, 0)
    if count:
        missing = _what_is_missing()
        terminalreporter.write_sep("!", f"KUBERNETES TESTS SKIPPED ({count}): {missing}", red=True, bold=True)
