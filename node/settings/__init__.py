"""A node's settings: one TOML text, the environment and flags in; frozen, checked values out, or every fault at once.

``schema`` lists the keys, ``sources`` says who said what, ``values`` how a value is spelled, ``rules`` what must hold
between values, ``model`` what comes out; ``loading`` puts them together. Only ``file`` touches the outside.
"""

from raftsman.node.settings.loading import NO_OVERRIDES, load
from raftsman.node.settings.model import (
    Address,
    AuthSettings,
    ContextEntry,
    ExecutorSettings,
    HttpSettings,
    Loaded,
    LoggingSettings,
    LogKeepSettings,
    Origin,
    RaftSettings,
    SchedulerSettings,
    SettingFault,
    Settings,
    SettingsError,
    TlsSettings,
)
from raftsman.node.settings.schema import SCHEMA, Setting

__all__ = [
    "NO_OVERRIDES",
    "SCHEMA",
    "Address",
    "AuthSettings",
    "ContextEntry",
    "ExecutorSettings",
    "HttpSettings",
    "Loaded",
    "LogKeepSettings",
    "LoggingSettings",
    "Origin",
    "RaftSettings",
    "SchedulerSettings",
    "Setting",
    "SettingFault",
    "Settings",
    "SettingsError",
    "TlsSettings",
    "load",
]
