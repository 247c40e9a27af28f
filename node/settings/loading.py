"""From texts to settings: every source is read, every value parsed, every rule asked, and all faults told at once.

No file, variable or host name is read here: that is ``file``.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

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
from raftsman.node.settings.rules import RULES
from raftsman.node.settings.schema import KeyPath, Kind, concrete_paths, dotted
from raftsman.node.settings.showing import show
from raftsman.node.settings.sources import Given, Source, from_environment, from_file, from_flags
from raftsman.node.settings.values import BadValue, parse_address, parse_value

NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})

T = TypeVar("T")
Values = Mapping[KeyPath, object]
"""Parsed values of every key."""


def load(
    text: str, *, environment: Mapping[str, str], overrides: Mapping[str, object] = NO_OVERRIDES, host_name: str
) -> Loaded:
    """Return the settings that the file's *text*, the *environment* and flags (*overrides*, by dotted key) mean.

    A flag wins over the environment, that over the file, that over the default. Raises SettingsError with all faults.
    """
    file = from_file(text)
    flags = from_flags(overrides)
    variables = from_environment(environment, file.contexts | flags.contexts)
    sources = (file, variables, flags)
    given = {path: said for source in sources for path, said in source.given.items()}
    contexts = file.contexts | variables.contexts | flags.contexts
    values, faults = _parsed(given, contexts, host_name)
    settings = _settings(values, sorted(contexts), bind_given=("raft", "bind") in given)
    faults = [*_faults_of(sources), *faults, *_broken_rules(settings, given, {fault.key for fault in faults})]
    if faults:
        raise SettingsError(sorted(faults, key=lambda fault: (fault.line is None, fault.line or 0)))
    return Loaded(
        settings=settings,
        origins=_origins(given, values),
        shown=show(settings, values, given),
        warnings=variables.warnings,
    )


def _parsed(
    given: Mapping[KeyPath, Given], contexts: Iterable[str], host_name: str
) -> tuple[dict[KeyPath, object], list[SettingFault]]:
    """Return a value for every key and what is wrong with those given; a wrong one has a sound value meanwhile."""
    values: dict[KeyPath, object] = {}
    faults: list[SettingFault] = []
    for path, setting in concrete_paths(contexts):
        default = host_name if path == ("name",) else setting.default
        said = given.get(path)
        try:
            values[path] = parse_value(setting, said.value if said else default)
        except BadValue as error:
            reason = str(error) if said else f"is the host name when it is not set, and {error}"
            faults.append(_fault(dotted(path), reason, said))
            values[path] = host_name if setting.kind == Kind.NAME else parse_value(setting, default)
    return values, faults


def _broken_rules(settings: Settings, given: Mapping[KeyPath, Given], faulty: set[str]) -> Iterator[SettingFault]:
    said = {dotted(path): each for path, each in given.items()}
    for rule in RULES:
        if faulty.isdisjoint(rule.needs):
            for key, reason in rule.check(settings, said.keys()):
                yield _fault(key, reason, said.get(key))


def _fault(key: str, reason: str, said: Given | None) -> SettingFault:
    if said is None:
        return SettingFault(key=key, reason=reason)
    return SettingFault(key=key, reason=reason, line=said.line, variable=said.variable)


def _faults_of(sources: Iterable[Source]) -> Iterator[SettingFault]:
    return (fault for source in sources for fault in source.faults)


def _origins(given: Mapping[KeyPath, Given], values: Values) -> dict[str, Origin]:
    origins: dict[str, Origin] = {dotted(path): given[path].origin if path in given else "default" for path in values}
    if origins["raft.bind"] == "default":  # Then the list of members decides where the log listens.
        origins["raft.bind"] = origins["raft.members"]
    return origins


# --- from values by key to the frozen whole ----------------------------------------------------------


def _settings(values: Values, contexts: Iterable[str], *, bind_given: bool) -> Settings:
    return Settings(
        name=_get(values, str, "name"),
        cluster=_get(values, str, "cluster"),
        data_dir=_get(values, Path, "data_dir"),
        http=_http(values),
        raft=_raft(values, bind_given=bind_given),
        tls=TlsSettings(
            ca=_file(values, "tls", "ca"), cert=_file(values, "tls", "cert"), key=_file(values, "tls", "key")
        ),
        auth=AuthSettings(admin_token_file=_file(values, "auth", "admin_token_file")),
        scheduler=SchedulerSettings(
            default_timeout_ms=_get(values, int, "scheduler", "default_timeout"),
            max_queued=_get(values, int, "scheduler", "max_queued"),
            keep_finished_ms=_get(values, int, "scheduler", "keep_finished"),
            keep_finished_count=_get(values, int, "scheduler", "keep_finished_count"),
        ),
        executor=_executor(values),
        contexts=tuple(_context(values, name) for name in contexts),
        logging=LoggingSettings(
            level=_get(values, str, "logging", "level"), format=_get(values, str, "logging", "format")
        ),
    )


def _http(values: Values) -> HttpSettings:
    bind = _get(values, Address, "http", "bind")
    return HttpSettings(
        bind=bind,
        advertise=_get(values, str, "http", "advertise") or f"http://{bind}",
        max_body_bytes=_get(values, int, "http", "max_body"),
    )


def _raft(values: Values, *, bind_given: bool) -> RaftSettings:
    bind = _get(values, Address, "raft", "bind")
    name = _get(values, str, "name")
    members = _get(values, tuple, "raft", "members") or ((name, str(bind)),)
    own = dict(members).get(name)
    if own and not bind_given:
        bind = parse_address(own)
    low_ms, high_ms = _get(values, tuple, "raft", "election_timeout")
    return RaftSettings(
        bind=bind,
        advertise=_get(values, str, "raft", "advertise") or own or str(bind),
        members=members,
        election_timeout_s=(low_ms / 1000, high_ms / 1000),
        compact_entries=_get(values, int, "raft", "compact_entries"),
    )


def _executor(values: Values) -> ExecutorSettings:
    job_ttl_ms = _get(values, int, "executor", "job_ttl")
    return ExecutorSettings(
        slots=_get(values, int, "executor", "slots"),
        allow_shell=_get(values, bool, "executor", "allow_shell"),
        job_ttl_s=-(-job_ttl_ms // 1000),  # Kubernetes counts whole seconds; rather a moment longer than too short.
        log_keep=LogKeepSettings(
            head_bytes=_get(values, int, "executor", "log_keep", "head"),
            tail_bytes=_get(values, int, "executor", "log_keep", "tail"),
            total_bytes=_get(values, int, "executor", "log_keep", "total"),
        ),
    )


def _context(values: Values, name: str) -> ContextEntry:
    return ContextEntry(
        name=name,
        kubeconfig=_file(values, "contexts", name, "kubeconfig"),
        context=_get(values, str, "contexts", name, "context") or name,
        namespace=_get(values, str, "contexts", name, "namespace"),
        labels=_get(values, tuple, "contexts", name, "labels"),
        max_jobs=_get(values, int, "contexts", name, "max_jobs"),
        pod_security=_get(values, str, "contexts", name, "pod_security"),
        allow_host=_get(values, bool, "contexts", name, "allow_host"),
        qps=_get(values, float, "contexts", name, "qps"),
        burst=_get(values, int, "contexts", name, "burst"),
    )


def _get(values: Values, kind: type[T], *path: str) -> T:
    value = values[path]
    assert isinstance(value, kind), path  # The schema and this file disagree.
    return value


def _file(values: Values, *path: str) -> Path | None:
    value = values[path]
    return value if isinstance(value, Path) else None
