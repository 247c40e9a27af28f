"""What holds for every run of the tests: those on Kubernetes are never left out silently."""

import os

import pytest

KUBECONFIG = "RAFTSMAN_TEST_KUBECONFIG"
REQUIRE = "RAFTSMAN_TEST_REQUIRE_KUBERNETES"
HOW = f"set {KUBECONFIG} to a kubeconfig whose contexts may run Pods"

_left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests on Kubernetes when there is none; fail instead when it is required."""
    on_kubernetes = [item for item in items if item.get_closest_marker("kubernetes")]
    config.stash[_left_out] = 0
    if os.environ.get(KUBECONFIG) or not on_kubernetes:
        return
    if os.environ.get(REQUIRE):
        raise pytest.UsageError(f"{REQUIRE} is set and there is no Kubernetes: {HOW}")
    config.stash[_left_out] = len(on_kubernetes)
    for item in on_kubernetes:
        item.add_marker(pytest.mark.skip(reason=HOW))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out where nobody overlooks it."""
    count = config.stash.get(_left_out, 0)
    if count:
        terminalreporter.write_sep("!", f"KUBERNETES TESTS SKIPPED ({count}): {HOW}", red=True, bold=True)
