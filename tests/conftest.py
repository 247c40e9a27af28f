"""What holds for every run of the tests: those on Kubernetes are never left out silently."""

import os
import shutil

import pytest

KUBECONFIG = "RAFTSMAN_TEST_KUBECONFIG"
REQUIRE = "RAFTSMAN_TEST_REQUIRE_KUBERNETES"
HOW = f"set {KUBECONFIG} to a kubeconfig whose contexts may run Pods"
NO_KUBECTL = "install kubectl, which looks past raftsman at what Kubernetes has"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test on Kubernetes when there is none; fail it when one is required."""
    missing = _what_is_missing() if item.get_closest_marker("kubernetes") else None
    if missing is None:
        return
    if os.environ.get(REQUIRE):
        pytest.fail(f"{REQUIRE} is set and there is no Kubernetes: {missing}", pytrace=False)
    pytest.skip(missing)


def _what_is_missing() -> str | None:
    """Return what keeps the tests on Kubernetes from running; None when nothing does."""
    if not os.environ.get(KUBECONFIG):
        return HOW
    return None if shutil.which("kubectl") else NO_KUBECTL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out where nobody overlooks it."""
    missing = _what_is_missing()
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(1 for each in skipped if missing is not None and missing in str(each.longrepr))
    if count:
        terminalreporter.write_sep("!", f"KUBERNETES TESTS SKIPPED ({count}): {missing}", red=True, bold=True)
