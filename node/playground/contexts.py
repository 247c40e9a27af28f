"""The contexts of real clusters that a playground is asked to use beside its own: found in the user's kubeconfig."""

import os
from collections.abc import Sequence
from pathlib import Path

from raftsman.executor.kubernetes.kubeconfig import KubeconfigError, Kubeconfigs, context_names, default_paths
from raftsman.node.playground.layout import DEV_CONTEXTS, ContextPlace


def find_contexts(names: Sequence[str]) -> list[ContextPlace]:
    """Return where the named contexts are. Raises ValueError when one of them is not there, or has one of our names."""
    if not names:
        return []
    try:
        paths = [path.absolute() for path in default_paths(os.environ, Path.home())]
        known = context_names(paths, Kubeconfigs())
    except KubeconfigError as error:
        raise ValueError(str(error)) from error
    for name in names:
        if name in DEV_CONTEXTS:
            raise ValueError(f'the context "{name}" has the name of one of the playground\'s own')
        if name not in known:
            raise ValueError(f'your kubeconfig has no context "{name}" (there are: {", ".join(known) or "none"})')
    kubeconfig = ":".join(map(str, paths))  # Written down: a node may be started again from another environment.
    return [ContextPlace(name=name, kubeconfig=kubeconfig) for name in dict.fromkeys(names)]
