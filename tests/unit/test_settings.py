"""What a node makes of its file, its environment and its flags; refusals are ``test_settings_refusals``."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.node.settings import NO_OVERRIDES, SCHEMA, Address, Loaded, Setting, load
from raftsman.node.settings.schema import concrete_paths, dotted
from raftsman.node.settings.sources import key_lines
from raftsman.node.settings.values import BadValue, decode_text, parse_address, parse_value

EVERY_KEY = """\
name = "alpha"
cluster = "test"
data_dir = "/srv/raftsman"
[http]
bind = "127.0.0.1:7127"
advertise = "localhost:7127"
max_body = "2Mi"
[raft]
bind = "127.0.0.1:7128"
advertise = "127.0.0.1:7128"
members = ["alpha=127.0.0.1:7128", "beta=127.0.0.1:7138", "gamma=127.0.0.1:7148"]
election_timeout = "250ms..1s"
compact_entries = 1000
[tls]
ca = ""
cert = ""
key = ""
[auth]
admin_token_file = "/etc/raftsman/token"
[scheduler]
default_timeout = "1h30m"
max_queued = 10
keep_finished = "1d"
keep_finished_count = 20
[executor]
slots = 4
allow_shell = true
job_ttl = "1500ms"
log_keep = {head = "1Ki", tail = "2Ki", total = "1Gi"}
[contexts.prod-eu]
kubeconfig = "/etc/raftsman/kube/prod-eu.yaml"
context = "eu"
namespace = "batch"
labels = {region = "eu", "example.com/tier" = "1"}
max_jobs = 5
pod_security = "restricted"
allow_host = true
qps = 2.5
burst = 3
[logging]
level = "debug"
format = "json"
"""


def read(text: str = "", environment: Mapping[str, str] = {}, overrides: Mapping[str, object] = NO_OVERRIDES) -> Loaded:
    return load(text, environment=environment, overrides=overrides, host_name="alpha")


# --- what comes out ---------------------------------------------------------------------------------


def test_nothing_given_is_a_node_alone_on_loopback() -> None:
    settings = read().settings
    assert settings.name == "alpha"
    assert settings.cluster == "raftsman"
    assert settings.data_dir == Path("/var/lib/raftsman")
    assert str(settings.http.bind) == "127.0.0.1:7117"
    assert settings.http.advertise == "http://127.0.0.1:7117"
    assert settings.http.max_body_bytes == 1 << 20
    assert settings.raft.members == (("alpha", "127.0.0.1:7118"),)
    assert settings.raft.election_timeout_s == (0.3, 0.6)
    assert settings.auth.admin_token_file is None
    assert settings.scheduler.default_timeout_ms == 600_000
    assert settings.scheduler.keep_finished_ms == 7 * 86_400_000
    assert settings.executor.job_ttl_s == 3600
    assert settings.executor.log_keep.total_bytes == 2 << 30
    assert settings.contexts == ()


def test_every_key_of_the_file_arrives() -> None:
    settings = read(EVERY_KEY).settings
    (context,) = settings.contexts
    assert (settings.name, settings.cluster, settings.data_dir) == ("alpha", "test", Path("/srv/raftsman"))
    assert settings.http.bind == Address("127.0.0.1", 7127)
    assert settings.http.advertise == "http://localhost:7127"
    assert settings.http.max_body_bytes == 2 << 20
    assert (settings.raft.bind, settings.raft.advertise) == (Address("127.0.0.1", 7128), "127.0.0.1:7128")
    assert settings.raft.members[2] == ("gamma", "127.0.0.1:7148")
    assert (settings.raft.election_timeout_s, settings.raft.compact_entries) == ((0.25, 1.0), 1000)
    assert settings.auth.admin_token_file == Path("/etc/raftsman/token")
    assert (settings.scheduler.default_timeout_ms, settings.scheduler.max_queued) == (5_400_000, 10)
    assert (settings.scheduler.keep_finished_ms, settings.scheduler.keep_finished_count) == (86_400_000, 20)
    assert (settings.executor.slots, settings.executor.allow_shell) == (4, True)
    assert (settings.executor.log_keep.head_bytes, settings.executor.log_keep.tail_bytes) == (1024, 2048)
    assert (context.name, context.context, context.namespace) == ("prod-eu", "eu", "batch")
    assert context.kubeconfig == Path("/etc/raftsman/kube/prod-eu.yaml")
    assert context.labels == (("example.com/tier", "1"), ("region", "eu"))
    assert (context.max_jobs, context.pod_security, context.allow_host) == (5, "restricted", True)
    assert (context.qps, context.burst) == (2.5, 3)
    assert (settings.logging.level, settings.logging.format) == ("debug", "json")


def test_a_job_lives_whole_seconds_and_rather_longer_than_shorter() -> None:
    assert read(EVERY_KEY).settings.executor.job_ttl_s == 2


def test_the_schema_has_as_many_keys_as_the_settings_have_values() -> None:
    def count(value: object) -> int:
        if is_dataclass(value) and not isinstance(value, Address):
            return sum(count(getattr(value, field.name)) for field in fields(value))
        return 1

    settings = read("[contexts.one]").settings
    (context,) = settings.contexts
    whole = count(settings) - 1 + count(context) - 1  # Neither the tuple of contexts nor a context's name is a key.
    assert whole == len(SCHEMA)


@pytest.mark.parametrize("setting", SCHEMA, ids=lambda setting: setting.key)
def test_every_key_is_explained_and_its_default_is_sound(setting: Setting) -> None:
    assert setting.help
    if setting.key != "name":  # Its default is the host name.
        parse_value(setting, setting.default)


# --- who wins -----------------------------------------------------------------------------------------


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    file = "[executor]\nslots = 1\n[scheduler]\nmax_queued = 1\nkeep_finished_count = 1"
    environment = {"RAFTSMAN_EXECUTOR__SLOTS": "2", "RAFTSMAN_SCHEDULER__MAX_QUEUED": "2"}
    loaded = read(file, environment, {"executor.slots": 3, "cluster": None})
    assert loaded.settings.executor.slots == 3
    assert loaded.settings.scheduler.max_queued == 2
    assert loaded.settings.scheduler.keep_finished_count == 1
    keys = ("executor.slots", "scheduler.max_queued", "scheduler.keep_finished_count", "cluster")
    assert [loaded.origins[key] for key in keys] == ["flag", "environment", "file", "default"]


def test_every_key_has_an_origin() -> None:
    assert set(read(EVERY_KEY).origins) == {dotted(path) for path, _ in concrete_paths(["prod-eu"])}


def test_a_flag_may_be_spelled_as_in_the_environment() -> None:
    loaded = read(overrides={"executor.slots": "3", "data_dir": Path("/d"), 'contexts."a.b".labels': "x=y"})
    assert loaded.settings.executor.slots == 3
    assert loaded.settings.data_dir == Path("/d")
    assert [(entry.name, entry.labels) for entry in loaded.settings.contexts] == [("a.b", (("x", "y"),))]


# --- the environment ----------------------------------------------------------------------------------


def test_every_key_can_be_a_variable() -> None:
    settings = read(
        environment={
            "RAFTSMAN_NAME": "beta",
            "RAFTSMAN_DATA_DIR": "/d",
            "RAFTSMAN_RAFT__MEMBERS": "alpha=127.0.0.1:1, beta=[::1]:2",
            "RAFTSMAN_EXECUTOR__ALLOW_SHELL": "TRUE",
            "RAFTSMAN_EXECUTOR__LOG_KEEP__HEAD": "1Ki",
            "RAFTSMAN_CONTEXTS__PROD_EU__QPS": "7.5",
            "RAFTSMAN_CONTEXTS__PROD_EU__LABELS": "region=eu,zone=a",
        }
    ).settings
    assert (settings.name, settings.data_dir) == ("beta", Path("/d"))
    assert settings.raft.members == (("alpha", "127.0.0.1:1"), ("beta", "[::1]:2"))
    assert settings.raft.bind == Address("::1", 2)
    assert settings.executor.allow_shell is True
    assert settings.executor.log_keep.head_bytes == 1024
    assert [(entry.name, entry.qps) for entry in settings.contexts] == [("prod-eu", 7.5)]
    assert settings.contexts[0].labels == (("region", "eu"), ("zone", "a"))


@pytest.mark.parametrize("text", ["alpha=127.0.0.1:1,", '["alpha=127.0.0.1:1"]', "['alpha=127.0.0.1:1',]"])
def test_a_list_may_be_commas_json_or_toml(text: str) -> None:
    assert read(environment={"RAFTSMAN_RAFT__MEMBERS": text}).settings.raft.members == (("alpha", "127.0.0.1:1"),)


@pytest.mark.parametrize("text", ["a=b", '{"a": "b"}', '{a = "b"}'])
def test_labels_may_be_pairs_json_or_toml(text: str) -> None:
    (context,) = read(environment={"RAFTSMAN_CONTEXTS__ONE__LABELS": text}).settings.contexts
    assert context.labels == (("a", "b"),)


def test_a_variable_may_hold_a_whole_table() -> None:
    settings = read(environment={"RAFTSMAN_EXECUTOR__LOG_KEEP": '{"head": "1Ki", "tail": "1Ki"}'}).settings
    assert (settings.executor.log_keep.head_bytes, settings.executor.log_keep.total_bytes) == (1024, 2 << 30)


@pytest.mark.parametrize("name", ["prod-eu", "prod.eu", "Prod_EU"])
def test_a_variable_finds_the_context_of_the_file_whatever_its_spelling(name: str) -> None:
    loaded = read(f'[contexts."{name}"]\nqps = 1', {"RAFTSMAN_CONTEXTS__PROD_EU__QPS": "2"})
    assert [(entry.name, entry.qps) for entry in loaded.settings.contexts] == [(name, 2)]
    assert loaded.origins[f"{dotted(('contexts', name))}.qps"] == "environment"


def test_an_unknown_variable_warns_and_says_what_was_meant() -> None:
    loaded = read(environment={"RAFTSMAN_HTTP_BIND": "x", "RAFTSMAN_AUTH__ADMIN_TOKEN": "s3cret", "RAFTSMAN_ZZ": "1"})
    assert loaded.warnings == (
        "RAFTSMAN_AUTH__ADMIN_TOKEN is not a setting and is ignored; did you mean RAFTSMAN_AUTH__ADMIN_TOKEN_FILE?",
        "RAFTSMAN_HTTP_BIND is not a setting and is ignored; did you mean RAFTSMAN_HTTP__BIND?",
        "RAFTSMAN_ZZ is not a setting and is ignored",
    )


@pytest.mark.parametrize(
    "variable",
    [
        "RAFTSMAN_ADDRESS",
        "RAFTSMAN_TOKEN",
        "RAFTSMAN_TOKEN_FILE",
        "RAFTSMAN_CONFIG",
        "RAFTSMAN_PROFILE",
        "RAFTSMAN_TEST_KUBECONFIG",
        "RAFTSMAN_SERVICE_HOST",
        "RAFTSMAN_SERVICE_PORT_HTTP",
        "RAFTSMAN_PORT",
        "RAFTSMAN_PORT_7117_TCP_ADDR",
        "PATH",
    ],
)
def test_variables_of_the_client_and_of_kubernetes_are_not_remarked_on(variable: str) -> None:
    assert read(environment={variable: "anything"}).warnings == ()


# --- members ------------------------------------------------------------------------------------------

MEMBERS = 'members = ["alpha=127.0.0.1:1", "beta=127.0.0.1:2", "gamma=127.0.0.1:3"]'


def test_a_node_listens_where_the_members_list_says() -> None:
    loaded = read(f'name = "beta"\n[raft]\n{MEMBERS}')
    assert loaded.settings.raft.bind == Address("127.0.0.1", 2)
    assert loaded.settings.raft.advertise == "127.0.0.1:2"
    assert loaded.origins["raft.bind"] == "file"


def test_without_members_the_node_is_a_cluster_of_its_own() -> None:
    raft = read('raft.bind = "127.0.0.1:9"').settings.raft
    assert (raft.members, raft.advertise) == ((("alpha", "127.0.0.1:9"),), "127.0.0.1:9")


# --- lines and spellings --------------------------------------------------------------------------


def test_lines_are_found_past_comments_lists_texts_and_dotted_keys() -> None:
    text = (
        "# head\r\n"
        'http.bind = "a"\n'
        "raft.members = [  # several lines\n"
        '  "[not.a.table]",\n'
        "]\n"
        '[contexts."a.b"]\n'
        'note = """\n'
        "qps = 1\n"
        '"""\n'
        "labels.region = 'eu'\n"
        "[executor]\n"
        "log_keep = {head = 1, tail = 2}\n"
    )
    assert key_lines(text) == {
        ("http",): 2,
        ("http", "bind"): 2,
        ("raft",): 3,
        ("raft", "members"): 3,
        ("contexts",): 6,
        ("contexts", "a.b"): 6,
        ("contexts", "a.b", "note"): 7,
        ("contexts", "a.b", "labels"): 10,
        ("contexts", "a.b", "labels", "region"): 10,
        ("executor",): 11,
        ("executor", "log_keep"): 12,
        ("executor", "log_keep", "head"): 12,
        ("executor", "log_keep", "tail"): 12,
    }


@given(st.sampled_from(SCHEMA), st.text(max_size=20))
def test_any_text_in_a_variable_is_a_value_or_a_refusal_on_one_line(setting: Setting, text: str) -> None:
    sentence = ""
    try:
        parse_value(setting, decode_text(setting.kind, text))
    except BadValue as error:
        sentence = str(error)
    assert sentence.isprintable()


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_is_read_as_it_is_written(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert parse_address(str(address)) == address
