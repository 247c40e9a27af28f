"""The contexts of this machine's node tried out one by one, as its settings name them: ``raftsman context test``."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from raftsman.executor.contexttest import ContextReport, examine
from raftsman.executor.kubernetes.kubeconfig import KubeconfigError
from raftsman.executor.kubernetes.permissions import role_lines
from raftsman.node.main import context_entries, context_settings
from raftsman.node.settings.file import read_settings

__all__ = ["ContextReport", "ContextTestError", "role_lines", "try_contexts"]


class ContextTestError(Exception):
    """There is nothing that could be tested."""


def try_contexts(config: Path | None, names: Sequence[str]) -> list[ContextReport]:
    """Return what there is to say about the named contexts of the node, or about all.

    Raises SettingsError, and ContextTestError when a name is not known or there is no context at all.
    """
    settings = read_settings(config).settings
    try:
        entries = {entry.name: entry for entry in context_entries(settings)}
    except KubeconfigError as error:
        raise ContextTestError(str(error)) from error
    if unknown := [name for name in names if name not in entries]:
        known = ", ".join(sorted(entries)) or "none"
        raise ContextTestError(f"the node has no context {', '.join(unknown)} (it has: {known})")
    if not entries:
        raise ContextTestError("the node has no context: its settings name none, and there is no kubeconfig")

    async def all_of_them() -> list[ContextReport]:
        chosen = [entries[name] for name in names or sorted(entries)]
        tests = (
            examine(context_settings(entry), entry.namespace, environment=os.environ, home=Path.home())
            for entry in chosen
        )
        return list(await asyncio.gather(*tests))

    return asyncio.run(all_of_them())
