"""How a node refuses settings that it cannot use: every fault at once, with its place and a way out."""

from collections.abc import Mapping

import pytest

from raftsman.node.settings import NO_OVERRIDES, Loaded, SettingFault, SettingsError, load


def read(
    text: str = "",
    environment: Mapping[str, str] = {},
    overrides: Mapping[str, object] = NO_OVERRIDES,
    host_name: str = "alpha",
) -> Loaded:
    return load(text, environment=environment, overrides=overrides, host_name=host_name)


def faults(
    text: str = "",
    environment: Mapping[str, str] = {},
    overrides: Mapping[str, object] = NO_OVERRIDES,
    host_name: str = "alpha",
) -> list[SettingFault]:
    with pytest.raises(SettingsError) as refusal:
        read(text, environment, overrides, host_name)
    return list(refusal.value.faults)


def fault(
    text: str = "",
    environment: Mapping[str, str] = {},
    overrides: Mapping[str, object] = NO_OVERRIDES,
    host_name: str = "alpha",
) -> SettingFault:
    (only,) = faults(text, environment, overrides, host_name)
    return only


# --- refusals -----------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = 'cluter = "x"\n[http]\nmax_body = "1Mb"\n\n[executor]\nslots = -1\n[logging]\nlevel = "loud"\n'
    found = faults(text, {"RAFTSMAN_SCHEDULER__KEEP_FINISHED": "5"})
    assert [(each.key, each.line) for each in found] == [
        ("cluter", 1),
        ("http.max_body", 3),
        ("executor.slots", 6),
        ("logging.level", 8),
        ("scheduler.keep_finished", None),
    ]


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        ('cluter = "x"', "cluter", "cluster"),
        ('[http]\nbnd = "x"', "http.bnd", "http.bind"),
        ("[http]\nslots = 1", "http.slots", "executor.slots"),
        ("slots = 1", "slots", "executor.slots"),
        ("[htpp]\nbind = 1", "htpp", "http"),
        ("[context.prod]\nqps = 1", "context", "contexts"),
        ("[contexts.prod]\nqsp = 1", "contexts.prod.qsp", "contexts.prod.qps"),
        ('[contexts."a.b"]\nqsp = 1', 'contexts."a.b".qsp', 'contexts."a.b".qps'),
        ('[auth]\nadmin_token = "s3cret"', "auth.admin_token", "auth.admin_token_file"),
        ("[executor.log_keep]\nheads = 1", "executor.log_keep.heads", "executor.log_keep.head"),
        ("wholly_unlike = 1", "wholly_unlike", ""),
        ('bind = "x"', "bind", ""),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_what_was_meant(text: str, key: str, suggestion: str) -> None:
    found = fault(text)
    assert (found.key, found.suggestion) == (key, suggestion)
    assert found.line == (1 if suggestion in {"http", "contexts"} else text.count("\n") + 1)


def test_a_refusal_never_repeats_a_secret() -> None:
    with pytest.raises(SettingsError) as refusal:
        read('[auth]\nadmin_token = "s3cret"')
    assert "s3cret" not in str(refusal.value)
    assert "a secret is given as the file that holds it" in str(refusal.value)


def test_a_refusal_reads_as_sentences() -> None:
    with pytest.raises(SettingsError) as refusal:
        read("[http]\nbnd = 1\n[executor]\nslots = true")
    assert str(refusal.value) == (
        "the settings have 2 faults:\n"
        "  line 2: http.bnd is not a setting; did you mean http.bind?\n"
        "  line 4: executor.slots must be a whole number, not true"
    )


@pytest.mark.parametrize(("text", "line"), [("name = ", 1), ('name = "a"\n[http\n', 2), ('name = "a"\nname = "b"', 2)])
def test_a_text_that_is_not_toml_is_refused_with_its_line(text: str, line: int) -> None:
    found = fault(text)
    assert (found.key, found.line) == ("", line)
    assert "not TOML" in found.reason


@pytest.mark.parametrize("text", ["http = 5", "contexts = 5", "[contexts]\nprod = 5", "[[http]]\nbind = 1"])
def test_a_section_that_is_no_table_is_refused(text: str) -> None:
    assert fault(text).reason.startswith("must be a table, written [")


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("name", '"-x"', "begin with a letter or digit"),
        ("name", f'"{"x" * 64}"', "1 to 63"),
        ("cluster", '""', "1 to 63"),
        ("data_dir", '""', "must name a path"),
        ("data_dir", '"~/raftsman"', "a leading ~"),
        ("data_dir", "5", "must be a text in quotes, not 5"),
        ("http.bind", '"7117"', "must be host:port"),
        ("http.bind", '"127.0.0.1:0"', "port from 1 to 65535"),
        ("http.bind", '"127.0.0.1:65536"', "port from 1 to 65535"),
        ("http.bind", '"127.0.0.300:1"', "IPv4 address"),
        ("http.bind", '"::1:7117"', "in brackets"),
        ("http.bind", '"[localhost]:7117"', "in brackets"),
        ("http.bind", '":7117"', "must begin with a host name"),
        ("http.advertise", '"ftp://127.0.0.1:1"', "must be a URL"),
        ("http.advertise", '"http://127.0.0.1:1/v1"', "must be a URL"),
        ("http.max_body", "true", "must be a quantity"),
        ("http.max_body", '"0"', "greater than 0"),
        ("raft.members", '"alpha=127.0.0.1:1"', "must be a list"),
        ("raft.members", '["alpha"]', "name=host:port"),
        ("raft.members", '["al pha=127.0.0.1:1"]', 'holds the entry "al pha=127.0.0.1:1", which must be 1 to 63'),
        ("raft.election_timeout", '"300ms"', "two durations"),
        ("raft.election_timeout", '"300..600"', "must be a duration"),
        ("raft.election_timeout", '"50ms..600ms"', "at least 100ms"),
        ("raft.election_timeout", '"600ms..600ms"', "in this order"),
        ("scheduler.default_timeout", "600", "must be a duration in quotes"),
        ("scheduler.default_timeout", '"600"', "must be a duration such as"),
        ("scheduler.keep_finished", '"0s"', 'must be at least 1s, not "0s"'),
        ("scheduler.keep_finished", '"99999d"', "must be at most 3650d"),
        ("scheduler.max_queued", "0", "must be at least 1, not 0"),
        ("scheduler.max_queued", "1.5", "must be a whole number"),
        ("scheduler.max_queued", "10_000_000_000", "must be at most 1000000000"),
        ("executor.allow_shell", '"yes"', "must be true or false"),
        ("executor.log_keep.total", '"1Ki"', "at least head and tail together"),
        ("contexts.one.max_jobs", "0", "must be at least 1"),
        ("contexts.one.pod_security", '"privileged"', "must be one of baseline, restricted, none"),
        ("contexts.one.qps", "nan", "must be a number"),
        ("contexts.one.qps", "0.5", "must be at least 1"),
        ("contexts.one.namespace", '"Batch"', "a-z 0-9"),
        ("contexts.one.labels", '"a=b"', "must be a table"),
        ("contexts.one.labels", "{a = 1}", 'holds a value of "a" that must be a text in quotes, not 1'),
        ("contexts.one.labels", '{"-a" = "1"}', 'holds the key "-a", which must be'),
        ("contexts.one.labels", '{a = "-1"}', 'holds the value "-1" of "a", which must be'),
        ("logging.level", '"loud"', "must be one of debug, info, warning, error"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused(key: str, value: str, complaint: str) -> None:
    found = fault(f"{key} = {value}")
    assert (found.key, found.line) == (key, 1)
    assert complaint in found.reason


def test_a_host_name_that_cannot_be_a_name_asks_for_one() -> None:
    found = fault(host_name="my host")
    assert found.key == "name"
    assert found.reason.startswith("is the host name when it is not set, and must be 1 to 63")


def test_a_context_without_a_name_is_refused() -> None:
    assert fault('[contexts." "]').key == 'contexts." "'


def test_an_unknown_flag_is_refused() -> None:
    assert fault(overrides={"http.bnd": "x"}).suggestion == "http.bind"
    assert fault(overrides={"not a key": "x"}).reason == "is not a setting"


def test_two_variables_for_one_key_are_refused() -> None:
    environment = {"RAFTSMAN_EXECUTOR__LOG_KEEP": '{head = "1Ki"}', "RAFTSMAN_EXECUTOR__LOG_KEEP__HEAD": "1Ki"}
    found = fault(environment=environment)
    assert found.key == "executor.log_keep.head"
    assert "RAFTSMAN_EXECUTOR__LOG_KEEP too" in found.reason


def test_a_wrong_variable_is_named() -> None:
    found = fault(environment={"RAFTSMAN_EXECUTOR__SLOTS": "many"})
    assert str(found) == 'RAFTSMAN_EXECUTOR__SLOTS: executor.slots must be a whole number, not "many"'


def test_a_variable_that_may_mean_two_contexts_is_refused() -> None:
    found = fault("[contexts.a-b]\n[contexts.a_b]", {"RAFTSMAN_CONTEXTS__A_B__QPS": "2"})
    assert "may mean contexts.a-b.qps or contexts.a_b.qps" in found.reason


# --- loopback, TLS and tokens -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('auth.admin_token_file = "/t"\nhttp.bind = "0.0.0.0:7117"', "http.bind"),
        ('auth.admin_token_file = "/t"\nhttp.bind = "node-1:7117"', "http.bind"),
        ('http.advertise = "10.0.0.1:7117"', "http.advertise"),
        ('raft.bind = "[::]:7118"', "raft.bind"),
        ('raft.members = ["alpha=10.0.0.1:7118"]', "raft.members"),
        ('raft.members = ["alpha=127.0.0.1:7118", "beta=10.0.0.2:7118"]', "raft.members"),
    ],
)
def test_off_loopback_is_refused_until_there_is_tls(text: str, key: str) -> None:
    found = fault(text)
    assert found.key == key
    assert "must stay on loopback" in found.reason
    assert "TLS is not built in yet" in found.reason


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_loopback_needs_neither_tls_nor_tokens(host: str) -> None:
    assert str(read(f'http.bind = "{host}:1"\nraft.bind = "{host}:2"').settings.http.bind) == f"{host}:1"


def test_off_loopback_without_a_token_is_refused_too() -> None:
    assert [each.key for each in faults('http.bind = "0.0.0.0:1"')] == ["http.bind", "auth.admin_token_file"]


def test_tls_files_are_refused_rather_than_ignored() -> None:
    found = faults('[tls]\nca = "/ca"\ncert = "/cert"\nkey = "/key"')
    assert [each.key for each in found] == ["tls.ca", "tls.cert", "tls.key"]
    assert "https" not in read().settings.http.advertise
    assert "http://" in fault('http.advertise = "https://127.0.0.1:1"').reason


# --- members ------------------------------------------------------------------------------------------

MEMBERS = 'members = ["alpha=127.0.0.1:1", "beta=127.0.0.1:2", "gamma=127.0.0.1:3"]'


@pytest.mark.parametrize("key", ["bind", "advertise"])
def test_an_address_other_than_the_members_is_refused(key: str) -> None:
    found = fault(f'[raft]\n{MEMBERS}\n{key} = "127.0.0.1:9"')
    assert (found.key, found.line) == (f"raft.{key}", 3)
    assert found.reason == "must be 127.0.0.1:1, the address in raft.members, or be left out; it is 127.0.0.1:9"


def test_the_members_must_contain_this_node() -> None:
    assert (
        "must contain this node, delta, beside alpha, beta, gamma" in fault(f'name = "delta"\n[raft]\n{MEMBERS}').reason
    )
    found = fault(f"[raft]\n{MEMBERS}", host_name="web-1")
    assert "web-1 (the host name, because name is not set)" in found.reason


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [("alpha=127.0.0.1:2", "a name of its own; alpha"), ("beta=127.0.0.1:1", "an address of its own; 127.0.0.1:1")],
)
def test_two_members_share_neither_name_nor_address(entry: str, complaint: str) -> None:
    text = f'name = "gamma"\nraft.members = ["gamma=127.0.0.1:9", "alpha=127.0.0.1:1", "{entry}"]'
    assert complaint in fault(text).reason


def test_http_and_raft_do_not_share_a_port() -> None:
    assert fault('http.bind = "127.0.0.1:7118"').key == "http.bind"


def test_a_faulty_value_hides_the_rules_that_would_misread_it() -> None:
    assert [each.key for each in faults('name = "bad name"\nraft.members = ["alpha=127.0.0.1:1"]')] == ["name"]


def test_more_members_than_the_table_holds_are_refused() -> None:
    entries = ", ".join(f'"n{each}=127.0.0.1:{each}"' for each in range(1, 66))
    assert "at most 64" in fault(f'name = "n1"\nraft.members = [{entries}]').reason
