"""The options' names, how the layers merge, and the errors for refused values."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.errors import ConfigurationError
from mikroscope.settings.description import describe
from mikroscope.settings.options import (
    Option,
    Settings,
    options,
    resolve_settings,
)
from mikroscope.settings.values import is_web_url, parse, shown, whole_number
from tests.helpers.paths import ROOT

EXAMPLE = ROOT / "examples" / "mikroscope.config.json"
SECRET = "tok-s3cr3t-value"

# The original's options: flag, environment variable, JSON key, another value, default.
TABLE = """
--logs MIKROSCOPE_LOGS_PATH logsPath /var/log/app ./logs
--db MIKROSCOPE_DB_PATH dbPath /srv/index.db ./data/mikroscope.db
--host MIKROSCOPE_HOST host 0.0.0.0 127.0.0.1
--port MIKROSCOPE_PORT port 80 4310
--protocol MIKROSCOPE_PROTOCOL protocol https http
--https MIKROSCOPE_HTTPS https true false
--tls-cert MIKROSCOPE_TLS_CERT_PATH tlsCertPath /c.pem none
--tls-key MIKROSCOPE_TLS_KEY_PATH tlsKeyPath /k.pem none
--api-token MIKROSCOPE_API_TOKEN apiToken abc none
--auth-username MIKROSCOPE_AUTH_USERNAME authUsername admin none
--auth-password MIKROSCOPE_AUTH_PASSWORD authPassword pw none
--cors-allow-origin MIKROSCOPE_CORS_ALLOW_ORIGIN corsAllowOrigin http://a *
--ingest-producers MIKROSCOPE_INGEST_PRODUCERS ingestProducers t=p none
--ingest-max-body-bytes MIKROSCOPE_INGEST_MAX_BODY_BYTES ingestMaxBodyBytes 2048 1048576
--ingest-interval-ms MIKROSCOPE_INGEST_INTERVAL_MS ingestIntervalMs 300 2000
--disable-auto-ingest MIKROSCOPE_DISABLE_AUTO_INGEST disableAutoIngest true false
--ingest-async-queue MIKROSCOPE_INGEST_ASYNC_QUEUE ingestAsyncQueue true false
--ingest-queue-flush-ms MIKROSCOPE_INGEST_QUEUE_FLUSH_MS ingestQueueFlushMs 50 25
--db-retention-days MIKROSCOPE_DB_RETENTION_DAYS dbRetentionDays 7 30
--db-audit-retention-days MIKROSCOPE_DB_AUDIT_RETENTION_DAYS dbAuditRetentionDays 0 365
--log-retention-days MIKROSCOPE_LOG_RETENTION_DAYS logRetentionDays 7 30
--log-audit-retention-days MIKROSCOPE_LOG_AUDIT_RETENTION_DAYS logAuditRetentionDays 0 365
--audit-backup-dir MIKROSCOPE_AUDIT_BACKUP_DIR auditBackupDirectory /backup none
--maintenance-interval-ms MIKROSCOPE_MAINTENANCE_INTERVAL_MS maintenanceIntervalMs 60000 21600000
--min-free-bytes MIKROSCOPE_MIN_FREE_BYTES minFreeBytes 0 268435456
--alert-webhook-url MIKROSCOPE_ALERT_WEBHOOK_URL alertWebhookUrl https://h none
--alert-interval-ms MIKROSCOPE_ALERT_INTERVAL_MS alertIntervalMs 1000 30000
--alert-window-minutes MIKROSCOPE_ALERT_WINDOW_MINUTES alertWindowMinutes 1 5
--alert-error-threshold MIKROSCOPE_ALERT_ERROR_THRESHOLD alertErrorThreshold 1 20
--alert-no-logs-threshold-minutes MIKROSCOPE_ALERT_NO_LOGS_THRESHOLD_MINUTES alertNoLogsThresholdMinutes 15 0
--alert-cooldown-ms MIKROSCOPE_ALERT_COOLDOWN_MS alertCooldownMs 1000 300000
--alert-webhook-timeout-ms MIKROSCOPE_ALERT_WEBHOOK_TIMEOUT_MS alertWebhookTimeoutMs 250 5000
--alert-webhook-retry-attempts MIKROSCOPE_ALERT_WEBHOOK_RETRY_ATTEMPTS alertWebhookRetryAttempts 1 3
--alert-webhook-backoff-ms MIKROSCOPE_ALERT_WEBHOOK_BACKOFF_MS alertWebhookBackoffMs 25 250
--alert-config-path MIKROSCOPE_ALERT_CONFIG_PATH alertConfigPath /a.json <db dir>/mikroscope.alert-config.json
"""  # noqa: E501 (a row of the table is a line)
ORIGINAL = [tuple(line.split(maxsplit=4)) for line in TABLE.strip().splitlines()]
FLAGS = [row[0] for row in ORIGINAL]
# Options that are refused alone, with the others they need (by JSON key).
COMPANIONS = {
    "protocol": {"tlsCertPath": "c", "tlsKeyPath": "k"},
    "https": {"tlsCertPath": "c", "tlsKeyPath": "k"},
    "authUsername": {"authPassword": "pw"},
    "authPassword": {"authUsername": "admin"},
}
FLOORS = {
    "max_concurrent_requests": 1,
    "query_timeout_ms": 100,
    "ingest_interval_ms": 250,
    "maintenance_interval_ms": 1000,
    "ingest_max_body_bytes": 1024,
    "alert_interval_ms": 1000,
    "alert_window_minutes": 1,
    "alert_error_threshold": 1,
    "alert_cooldown_ms": 1000,
    "alert_webhook_timeout_ms": 250,
    "alert_webhook_retry_attempts": 1,
    "alert_webhook_backoff_ms": 25,
    "ingest_queue_flush_ms": 1,
}

WriteConfig = Callable[[object], Path]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for option in options():
        monkeypatch.delenv(option.env, raising=False)


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    def write(content: object) -> Path:
        path = tmp_path / "mikroscope.config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def by_key(key: str) -> Option:
    return next(option for option in options() if option.key == key)


def by_env(env: str) -> Option:
    return next(option for option in options() if option.env == env)


def field_of(key: str) -> str:
    return "protocol" if key == "https" else by_key(key).name


def expected(key: str, text: str) -> object:
    return "https" if key == "https" else parse(by_key(key), text, "test")


def refusal(**layers: object) -> str:
    """Return the one-line error with which resolve_settings refuses these layers."""
    layers = {"env": {}} | layers
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings(**layers)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names, defaults, docs


@pytest.mark.parametrize(("flag", "env", "key", "_", "default"), ORIGINAL, ids=FLAGS)
def test_names_and_default(flag: str, env: str, key: str, default: str, _: str) -> None:
    """Every option of the original has its flag, variable, JSON key and default."""
    option = by_key(key)
    assert (option.flag, option.env, option.default) == (flag, env, default)


@pytest.mark.parametrize(("flag", "env", "key", "_", "default"), ORIGINAL, ids=FLAGS)
def test_default_in_force(flag: str, env: str, key: str, default: str, _: str) -> None:
    """The documented default is the default in force."""
    value = getattr(resolve_settings(env={}), field_of(key))
    if default == "none":
        assert not value
    elif key not in ("https", "alertConfigPath"):
        assert value == expected(key, default)


@pytest.mark.parametrize(("flag", "env", "key", "text", "default"), ORIGINAL, ids=FLAGS)
def test_in_the_file(
    flag: str, env: str, key: str, default: str, text: str, write_config: WriteConfig
) -> None:
    """Every option of the original is read from the config file."""
    path = write_config({key: text} | COMPANIONS.get(key, {}))
    assert getattr(resolve_settings(path, env={}), field_of(key)) == expected(key, text)


@pytest.mark.parametrize(("flag", "env", "key", "text", "default"), ORIGINAL, ids=FLAGS)
def test_in_the_environment(flag: str, env: str, key: str, default: str, text: str) -> None:
    """Every option of the original is read from the environment."""
    companions = {by_key(other).env: value for other, value in COMPANIONS.get(key, {}).items()}
    settings = resolve_settings(env={env: text} | companions)
    assert getattr(settings, field_of(key)) == expected(key, text)


@pytest.mark.parametrize(("flag", "env", "key", "text", "default"), ORIGINAL, ids=FLAGS)
def test_as_override(flag: str, env: str, key: str, default: str, text: str) -> None:
    """Every option of the original is taken as an override, by JSON key and by field name."""
    overrides = {key: text} | COMPANIONS.get(key, {})
    snake_case = {by_key(name).name: value for name, value in overrides.items()}
    for spelled in (overrides, snake_case):
        settings = resolve_settings(env={}, overrides=spelled)
        assert getattr(settings, field_of(key)) == expected(key, text)


def test_what_is_new() -> None:
    """Beyond the original's options there are only these."""
    assert {option.flag for option in options()} - set(FLAGS) == {
        *("--config", "--log-file-suffixes", "--log-format", "--log-requests"),
        *("--max-concurrent-requests", "--query-timeout-ms", "--ingest-fsync"),
        *("--alert-webhook-format", "--redact-fields", "--default-timezone"),
        "--db-max-bytes",
    }


def test_option_order() -> None:
    """Options come in the order and the groups of the docs."""
    assert list(dict.fromkeys(option.group for option in options())) == [
        "Core and security",
        "Ingest and indexing",
        "Retention and maintenance",
        "Alerting",
    ]
    flags = [option.flag for option in options()]
    assert [flag for flag in flags if flag in FLAGS] == FLAGS


def test_config_option() -> None:
    """--config is an option with a variable and no JSON key."""
    option = by_env("MIKROSCOPE_CONFIG_PATH")
    assert (option.flag, option.key) == ("--config", None)
    assert option.default == "./mikroscope.config.json"


def test_secret_options() -> None:
    """Tokens, the password and the webhook URL are secrets, and nothing else is."""
    assert {option.key for option in options() if option.secret} == {
        "apiToken",
        "authPassword",
        "ingestProducers",
        "alertWebhookUrl",
    }


def test_settings_are_frozen() -> None:
    """Settings cannot be changed once made."""
    with pytest.raises(FrozenInstanceError):
        resolve_settings(env={}).port = 1  # type: ignore[misc]


def test_settings_hash() -> None:
    """Equal settings are equal and hash alike."""
    assert len({resolve_settings(env={}), Settings()}) == 1


def test_alert_config_beside_the_index() -> None:
    """Unless it is set, the alert policy file is next to the database."""
    settings = resolve_settings(env={}, overrides={"db_path": "/srv/x/index.db"})
    assert settings.alert_config_file == Path("/srv/x/mikroscope.alert-config.json")


def test_alert_config_elsewhere() -> None:
    """A given alert policy file is used as it is."""
    settings = resolve_settings(env={}, overrides={"alertConfigPath": "/etc/a.json"})
    assert settings.alert_config_file == Path("/etc/a.json")


def test_example_file(caplog: pytest.LogCaptureFixture) -> None:
    """The example config file is accepted without a warning."""
    settings = resolve_settings(EXAMPLE, env={})
    assert dict(settings.ingest_producers).keys() == {"change-me-backend", "change-me-frontend"}
    assert not caplog.records


def test_example_file_has_defaults(write_config: WriteConfig) -> None:
    """Each default in the example config file is the one in force."""
    shown_defaults = {"logsPath", "dbPath", "host", "port", "protocol", "alertWebhookUrl"}
    content = {k: v for k, v in json.loads(EXAMPLE.read_text()).items() if k in shown_defaults}
    assert resolve_settings(write_config(content), env={}) == Settings()


# Layers


def test_layers_win_in_order(write_config: WriteConfig) -> None:
    """Each later layer wins: default, file, environment, override."""
    path = write_config({"port": 1, "host": "file", "minFreeBytes": 1})
    settings = resolve_settings(
        path,
        env={"MIKROSCOPE_PORT": "2", "MIKROSCOPE_HOST": "env"},
        overrides={"port": 3},
    )
    assert (settings.port, settings.host, settings.min_free_bytes) == (3, "env", 1)
    assert settings.ingest_interval_ms == 2000


def test_default_file_is_read(write_config: WriteConfig) -> None:
    """./mikroscope.config.json is read without being named."""
    write_config({"port": 5})
    assert resolve_settings(env={}).port == 5


def test_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an env the process environment is read."""
    monkeypatch.setenv("MIKROSCOPE_PORT", "77")
    assert resolve_settings().port == 77


def test_config_path_from_environment(tmp_path: Path) -> None:
    """MIKROSCOPE_CONFIG_PATH names the config file."""
    (tmp_path / "other.json").write_text('{"port": 6}')
    assert resolve_settings(env={"MIKROSCOPE_CONFIG_PATH": "other.json"}).port == 6


def test_config_argument_wins(tmp_path: Path) -> None:
    """A config file named as argument wins over the one the environment names."""
    (tmp_path / "other.json").write_text('{"port": 6}')
    env = {"MIKROSCOPE_CONFIG_PATH": "missing.json"}
    assert resolve_settings("other.json", env=env).port == 6


@pytest.mark.parametrize("empty", [None, "", " "])
def test_empty_config_argument(empty: str | None, write_config: WriteConfig) -> None:
    """An empty name of a config file counts as none."""
    write_config({"port": 5})
    assert resolve_settings(empty, env={"MIKROSCOPE_CONFIG_PATH": ""}).port == 5


def test_named_file_must_exist() -> None:
    """A config file that is named must exist, and the error says who named it."""
    assert refusal(config_file_path="no.json").startswith("--config: expected an existing file")
    message = refusal(env={"MIKROSCOPE_CONFIG_PATH": "no.json"})
    assert message.startswith("MIKROSCOPE_CONFIG_PATH: ")
    assert "'no.json'" in message


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A config file that is a directory is refused with the system's reason."""
    assert "Is a directory" in refusal(config_file_path=tmp_path)


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark before the JSON is accepted."""
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"port": 8}')
    assert resolve_settings("bom.json", env={}).port == 8


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"port": 1,\n  oops}', "line 2, column 3"),
        (b"[1]", "expected one JSON object, got a list"),
        (b"3", "expected one JSON object, got 3"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b'{"port": ' + b"9" * 5000 + b"}", "sensible size"),
        (b"[" * 100_000, "sensible size and depth"),
    ],
    ids=["empty", "broken", "list", "number", "not UTF-8", "huge number", "deep"],
)
def test_broken_file(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that is not a JSON object is refused with an error that says where it is broken."""
    (tmp_path / "bad.json").write_bytes(content)
    message = refusal(config_file_path="bad.json")
    assert words in message
    assert "bad.json" in message


def test_unknown_key(write_config: WriteConfig) -> None:
    """An unknown key in the file is refused, with the closest name as a hint."""
    message = refusal(config_file_path=write_config({"ingestQueFlushMs": 1}))
    assert message.startswith("Unknown option 'ingestQueFlushMs' in ")
    assert message.endswith(". Did you mean 'ingestQueueFlushMs'?")


def test_unknown_key_without_hint(write_config: WriteConfig) -> None:
    """An unknown key that resembles nothing gets no hint."""
    assert "Did you mean" not in refusal(config_file_path=write_config({"zzz": 1}))


def test_key_twice(write_config: WriteConfig) -> None:
    """A key that occurs twice in the file is refused, because its value is ambiguous."""
    message = refusal(config_file_path=write_config('{"port": 1, "port": 2}'))
    assert message.startswith("port in ")
    assert "twice" in message


def test_unknown_variables_are_ignored() -> None:
    """Variables that start like ours but name no option are ignored."""
    assert resolve_settings(env={"MIKROSCOPE_INSTALL_DIR": "x"}) == Settings()


def test_unknown_override() -> None:
    """An override that names no option is refused, with a hint."""
    message = refusal(overrides={"prot": 1})
    assert message == "Unknown option 'prot'. Did you mean 'port'?"


def test_override_twice() -> None:
    """An override given by both of its names is refused."""
    assert refusal(overrides={"db_path": "a", "dbPath": "b"}).startswith("--db: expected once")


@pytest.mark.parametrize("empty", ["", "  ", None])
@pytest.mark.parametrize("key", [row[2] for row in ORIGINAL])
def test_empty_in_file(key: str, empty: str | None, write_config: WriteConfig) -> None:
    """An empty text or null in the file counts as not set."""
    assert resolve_settings(write_config({key: empty}), env={}) == Settings()


def test_empty_variables() -> None:
    """An empty variable counts as not set."""
    assert resolve_settings(env={row[1]: "" for row in ORIGINAL}) == Settings()


def test_empty_text_flag(write_config: WriteConfig) -> None:
    """An empty text flag counts as not set, so that the layer below holds."""
    path = write_config({"apiToken": "abc", "protocol": "http"})
    settings = resolve_settings(path, env={}, overrides={"apiToken": "", "protocol": ""})
    assert settings.api_token == "abc"


def test_path_that_is_not_utf8() -> None:
    """A path that is not UTF-8 is refused, because neither SQLite nor a JSON answer can name it."""
    message = refusal(env={"MIKROSCOPE_DB_PATH": os.fsdecode(b"x\xffy.db")})
    assert message == "MIKROSCOPE_DB_PATH: expected a path in UTF-8, got 'x\\udcffy.db'"


@pytest.mark.parametrize("key", ["port", "https", "ingestAsyncQueue"])
def test_empty_number_flag(key: str) -> None:
    """An empty value of a number or boolean flag is refused."""
    assert refusal(overrides={key: ""}).endswith("got ''")


def test_none_override() -> None:
    """None among the overrides is not set."""
    assert resolve_settings(env={}, overrides={"port": None, "https": None}) == Settings()


def test_wrong_value_in_a_losing_layer() -> None:
    """A wrong value is refused even where a later layer would win."""
    message = refusal(env={"MIKROSCOPE_PORT": "abc"}, overrides={"port": 1})
    assert message.startswith("MIKROSCOPE_PORT: ")


# Kinds


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", "Yes", " on "])
def test_true_words(text: str) -> None:
    """true, 1, yes and on are true, case-insensitively."""
    assert resolve_settings(env={"MIKROSCOPE_INGEST_ASYNC_QUEUE": text}).ingest_async_queue


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE", "No"])
def test_false_words(text: str, write_config: WriteConfig) -> None:
    """false, 0, no and off are false, case-insensitively."""
    path = write_config({"ingestAsyncQueue": True})
    settings = resolve_settings(path, env={"MIKROSCOPE_INGEST_ASYNC_QUEUE": text})
    assert not settings.ingest_async_queue


@pytest.mark.parametrize("value", [True, "true", "on", 1])
def test_boolean_in_file(value: object, write_config: WriteConfig) -> None:
    """A boolean in the file may be JSON's own or one of the words."""
    assert resolve_settings(write_config({"disableAutoIngest": value}), env={}).disable_auto_ingest


@pytest.mark.parametrize("value", ["maybe", 2, 1.0, [], {}, "tru e"])
def test_wrong_boolean(value: object, write_config: WriteConfig) -> None:
    """Any other value is refused as a boolean."""
    message = refusal(config_file_path=write_config({"disableAutoIngest": value}))
    assert "expected true or false" in message


@pytest.mark.parametrize("value", [80, "80", " 80 ", 80.0, "80.0", "8e1", "+80"])
def test_number_in_file(value: object, write_config: WriteConfig) -> None:
    """A number in the file may be a JSON number or a numeric text."""
    assert resolve_settings(write_config({"port": value}), env={}).port == 80


@pytest.mark.parametrize(
    "value",
    [True, "abc", 80.5, "80.5", "0x50", "1_000", "٣", [80], {"a": 1}, "1e99", "9" * 5000, "-"],
)
def test_wrong_number(value: object, write_config: WriteConfig) -> None:
    """A boolean, a fraction or any other text is refused as a number."""
    message = refusal(config_file_path=write_config({"port": value}))
    assert message.startswith("port in ")
    assert "expected a whole number from 0 to 65535" in message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "-1"])
def test_numbers_beyond_json(number: str, write_config: WriteConfig) -> None:
    """Numbers that are not finite, and negative ones, are refused."""
    path = write_config(f'{{"dbRetentionDays": {number}}}')
    assert "expected a whole number" in refusal(config_file_path=path)


@pytest.mark.parametrize("key", ["port", "minFreeBytes", "dbRetentionDays", "logRetentionDays"])
def test_zero_is_in_range(key: str) -> None:
    """Port, free space and retention may be 0."""
    settings = resolve_settings(env={}, overrides={key: 0})
    assert getattr(settings, field_of(key)) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("port", 65_536), ("port", -1), ("minFreeBytes", -1), ("dbRetentionDays", -1)],
)
def test_out_of_range(key: str, value: int) -> None:
    """Port beyond 65535 and negative numbers are refused by the flag's name."""
    message = refusal(overrides={key: value})
    assert message.startswith(f"{by_key(key).flag}: expected a whole number from 0 to ")
    assert message.endswith(f"got {value}")


@given(st.integers(min_value=-(2**53), max_value=2**53))
def test_number_round_trip(number: int) -> None:
    """Every whole number is read back from its text, its float and itself."""
    assert (
        whole_number(number) == whole_number(str(number)) == whole_number(float(number)) == number
    )


@given(st.text() | st.floats() | st.booleans() | st.binary())
def test_number_never_fails(raw: object) -> None:
    """No value of any kind makes the reading of numbers fail."""
    number = whole_number(raw)
    assert number is None or isinstance(number, int)


@given(
    st.sampled_from(options()),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_json_value(option: Option, raw: object) -> None:
    """Any JSON value is either accepted or refused on one line of reasonable length."""
    message = ""
    try:
        parse(option, raw, option.flag)
    except ConfigurationError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("value", [True, 12, [], {}])
@pytest.mark.parametrize("key", ["host", "dbPath", "apiToken", "authPassword", "alertWebhookUrl"])
def test_text_is_text(key: str, value: object, write_config: WriteConfig) -> None:
    """A text or path in the file is a JSON string, not a number or another kind."""
    assert f"{key} in " in refusal(config_file_path=write_config({key: value}))


def test_native_path() -> None:
    """A Path is taken as an override for a path."""
    assert resolve_settings(env={}, overrides={"logs_path": Path("/l")}).logs_path == Path("/l")


def test_url_of_an_index(write_config: WriteConfig) -> None:
    """An index is a file: a URL for it is refused in every layer, and not taken as a file name."""
    reason = "expected the path of the index file, not a URL, got 'clickhouse://h/logs'"
    url = "clickhouse://h/logs"
    assert refusal(overrides={"db_path": url}) == f"--db: {reason}"
    assert refusal(env={"MIKROSCOPE_DB_PATH": url}) == f"MIKROSCOPE_DB_PATH: {reason}"
    message = refusal(config_file_path=write_config({"dbPath": url}))
    assert message == f"dbPath in {write_config({})}: {reason}"
    for path in (r"C:\logs\i.db", "odd:name.db"):
        assert resolve_settings(env={}, overrides={"db_path": path}).db_path == Path(path)


def test_nul_in_path() -> None:
    """A path with a NUL byte is refused, escaped."""
    assert refusal(overrides={"db_path": "a\0b"}) == "--db: expected a path, got 'a\\x00b'"


def test_text_is_stripped_and_password_is_not() -> None:
    """Spaces around a text are dropped, those of a password are kept."""
    overrides = {"api_token": " a ", "auth_username": " u ", "auth_password": " p "}
    settings = resolve_settings(env={}, overrides=overrides)
    assert (settings.api_token, settings.auth_username) == ("a", "u")
    assert settings.auth_password == " p "


def test_control_characters_in_text() -> None:
    """A text with a line break is refused, and the message stays on one line."""
    assert refusal(overrides={"host": "a\nb"}).endswith(r"got 'a\nb'")


def test_password_that_is_no_text() -> None:
    """A password that is not valid UTF-8 is refused: no client could send it."""
    assert "UTF-8" in refusal(env={"MIKROSCOPE_AUTH_PASSWORD": "p\udcff"})


def test_protocol_in_any_case() -> None:
    """The protocol is case-insensitive."""
    assert resolve_settings(env={}, overrides={"protocol": "HTTP"}).protocol == "http"


def test_unknown_protocol() -> None:
    """Another protocol is refused, naming those there are."""
    assert refusal(overrides={"protocol": "ftp"}) == "--protocol: expected http or https, got 'ftp'"


@pytest.mark.parametrize("value", ["http://a, http://b,", ["http://a", " http://b "]])
def test_cors_list(value: object, write_config: WriteConfig) -> None:
    """Origins come as text with commas or as a JSON list."""
    settings = resolve_settings(write_config({"corsAllowOrigin": value}), env={})
    assert settings.cors_allow_origin == ("http://a", "http://b")


def test_cors_empty_list(write_config: WriteConfig) -> None:
    """An empty list of origins allows none: it must not fall back to all."""
    assert resolve_settings(write_config({"corsAllowOrigin": []}), env={}).cors_allow_origin == ()


@pytest.mark.parametrize("value", [{}, {"a": "b"}, [1], 3, ["a\nb"]])
def test_wrong_cors(value: object, write_config: WriteConfig) -> None:
    """Objects, numbers and lists of other values are refused as origins."""
    message = refusal(config_file_path=write_config({"corsAllowOrigin": value}))
    assert "expected texts separated by commas, or a list of texts" in message


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "http://localhost:4320", "https://console.example", "http://[::1]:81"),
        *("https://xn--mnchen-3ya.example", "chrome-extension://abcdef", "http://a:443"),
    ],
)
def test_origin(origin: str) -> None:
    """Origins are taken as browsers send them; * and null are taken, too."""
    found = resolve_settings(env={}, overrides={"cors_allow_origin": origin})
    assert found.cors_allow_origin == (origin,)


@pytest.mark.parametrize(
    ("origin", "instead"),
    [
        ("http://console.example/", "http://console.example"),
        ("https://console.example/app?x=1#y", "https://console.example"),
        ("console.example", "https://console.example"),
        ("//console.example/", "https://console.example"),
        ("localhost:4320", "http://localhost:4320"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:4320/", "http://[::1]:4320"),
        ("HTTPS://Console.Example", "https://console.example"),
        ("https://console.example:443", "https://console.example"),
        ("http://console.example:80", "http://console.example"),
        ("https://user:pass@console.example", "https://console.example"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("file:///home/me/page.html", "null"),
    ],
)
def test_origin_in_another_form(origin: str, instead: str) -> None:
    """An origin that no browser sends like this is refused, with what to write instead."""
    message = refusal(overrides={"cors_allow_origin": f"http://a,{origin}"})
    assert message.startswith(f"--cors-allow-origin: expected '{instead}' instead of {origin!r}: ")


@pytest.mark.parametrize(
    "origin", ["https://*.console.example", "*.example", "http://", "http://a:x", "http:/a", "/"]
)
def test_no_origin(origin: str) -> None:
    """What no origin can be made of is refused with an example."""
    message = refusal(overrides={"cors_allow_origin": origin})
    assert "expected an origin such as 'https://console.example', or * for any" in message


@pytest.mark.parametrize("value", ["ndjson", ".a/b", ".", ",", [".log", "x"]])
def test_wrong_suffixes(value: object) -> None:
    """A suffix begins with a dot and is part of a file name, and there is at least one."""
    assert "file name endings" in refusal(overrides={"log_file_suffixes": value})


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/x?y=z", "HTTPS://h", "http://[::1]/"])
def test_web_url(url: str) -> None:
    """http and https URLs with a host are accepted."""
    assert is_web_url(url)


@pytest.mark.parametrize(
    "url",
    ["h", "ftp://h", "http://", "http:///x", "http://[::1", "http://h:x", "http://a b", "//h"],
)
def test_no_web_url(url: str) -> None:
    """A URL with another scheme, a missing host or an impossible port is refused."""
    assert not is_web_url(url)


@pytest.mark.parametrize(
    "host",
    ["a..b", ".a", "a..", ".", "xn--", "a" * 64, "b\u00fc..x", "my_\u00fc.de", "xn--ls8h.la"],
)
def test_no_host(host: str) -> None:
    """A host with an empty, overlong or wrongly encoded part is refused."""
    assert not is_web_url(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    ["a.b.", "my_host", "B\u00dcCHER.de", "xn--bcher-kva.de", "\ua997\ua9ae.de", "\u65e5\u3002jp"],
)
def test_host(host: str) -> None:
    """A host may end in a dot, have an underscore, and be of any alphabet."""
    assert is_web_url(f"http://{host}/")


def test_wrong_webhook_url() -> None:
    """A wrong webhook URL is refused without showing it, for it may hold a key."""
    expected = "must begin with http:// or https:// (value not shown)"
    message = refusal(env={"MIKROSCOPE_ALERT_WEBHOOK_URL": f"ftp://{SECRET}"})
    assert message == f"MIKROSCOPE_ALERT_WEBHOOK_URL {expected}"
    assert refusal(overrides={"alertWebhookUrl": SECRET}) == f"--alert-webhook-url {expected}"
    message = refusal(overrides={"alertWebhookUrl": f"https://a b/{SECRET}"})
    assert message.startswith("--alert-webhook-url must be a URL with a valid host, and no space")
    assert SECRET not in message


@pytest.mark.parametrize("given", ["slack", " Slack ", "TEAMS"])
def test_webhook_format(given: str) -> None:
    """The format of alerts is one of a few words, in any case."""
    found = resolve_settings(env={"MIKROSCOPE_ALERT_WEBHOOK_FORMAT": given})
    assert found.alert_webhook_format == given.strip().lower()


def test_wrong_webhook_format() -> None:
    """Another format is refused with those that there are."""
    message = refusal(overrides={"alertWebhookFormat": "irc"})
    assert message.endswith("expected auto or mikroscope or slack or discord or teams, got 'irc'")


def test_fields_to_redact(write_config: WriteConfig) -> None:
    """Names of fields are a list, in the file also a JSON array, and replace the default."""
    assert "password" in resolve_settings(env={}).redact_fields
    found = resolve_settings(env={"MIKROSCOPE_REDACT_FIELDS": "ssn, card number"})
    assert found.redact_fields == ("ssn", "card number")
    found = resolve_settings(write_config({"redactFields": ["ssn", "iban"]}), env={})
    assert found.redact_fields == ("ssn", "iban")


@pytest.mark.parametrize("wrong", ["-", "ssn,_", "a\nb"])
def test_wrong_fields_to_redact(wrong: str) -> None:
    """A name without a letter or digit would be no name, and is refused."""
    assert refusal(overrides={"redactFields": wrong}).startswith("--redact-fields: expected ")


# Floors


@pytest.mark.parametrize("low", [0, -5])
@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_raised_to_floor(name: str, floor: int, low: int, caplog: pytest.LogCaptureFixture) -> None:
    """A value below its floor is raised to it, with a warning that names option and values."""
    settings = resolve_settings(env={}, overrides={name: low})
    assert getattr(settings, name) == floor
    (record,) = caplog.records
    flag = "--" + name.replace("_", "-")
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"{flag}: {low} is too low and is raised to {floor}"


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_at_the_floor(name: str, floor: int, caplog: pytest.LogCaptureFixture) -> None:
    """A value at its floor holds, without a warning."""
    assert getattr(resolve_settings(env={}, overrides={name: floor}), name) == floor
    assert not caplog.records


def test_floors_are_all() -> None:
    """No other option has a floor."""
    floors = {option.name for option in options() if option.floor is not None}
    assert floors == FLOORS.keys() | {"db_max_bytes"}


def test_a_limit_that_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """The index has no limit by default; 0 says so, too, and is not raised to the floor."""
    assert resolve_settings(env={}).db_max_bytes == 0
    given = resolve_settings(env={"MIKROSCOPE_DB_MAX_BYTES": "0"})
    assert given.db_max_bytes == 0
    assert given.given == {"db_max_bytes"}
    assert not caplog.records


def test_too_low_a_limit(write_config: WriteConfig, caplog: pytest.LogCaptureFixture) -> None:
    """A limit that hardly any entry fits into is raised, with a warning."""
    found = resolve_settings(write_config({"dbMaxBytes": 5000}), env={})
    assert found.db_max_bytes == 4_194_304
    (record,) = caplog.records
    assert record.getMessage().endswith("5000 is too low and is raised to 4194304")


def test_a_negative_limit() -> None:
    """A negative limit is refused: it could mean no limit, or that nothing is kept."""
    message = refusal(overrides={"dbMaxBytes": "-1"})
    assert message == f"--db-max-bytes: expected a whole number from 0 to {2**53 - 1}, got '-1'"


def test_no_warning_for_a_losing_layer(
    write_config: WriteConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A low value that a later layer replaces is not worth a warning."""
    path = write_config({"ingestIntervalMs": 1})
    resolve_settings(path, env={"MIKROSCOPE_INGEST_INTERVAL_MS": "500"})
    assert not caplog.records


# Producers and Basic auth


@pytest.mark.parametrize(
    "value",
    [
        "t1=backend-api, t2=web.1,",
        {"t1": "backend-api", " t2": "web.1 "},
        (("t1", "backend-api"), ("t2", "web.1")),
    ],
)
def test_producers(value: object) -> None:
    """Producers come as token=producer text, as a mapping or as pairs."""
    settings = resolve_settings(env={}, overrides={"ingest_producers": value})
    assert settings.ingest_producers == (("t1", "backend-api"), ("t2", "web.1"))


def test_producers_object_in_file(write_config: WriteConfig) -> None:
    """In the file producers may be an object of tokens and producer ids."""
    path = write_config({"ingestProducers": {"t1": "a", "t2": "a"}})
    assert resolve_settings(path, env={}).ingest_producers == (("t1", "a"), ("t2", "a"))


def test_token_may_end_in_equals_signs() -> None:
    """A base64 token keeps its padding: the last equals sign parts token and producer."""
    settings = resolve_settings(env={"MIKROSCOPE_INGEST_PRODUCERS": "YWI===api"})
    assert settings.ingest_producers == (("YWI==", "api"),)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"{SECRET}=a,{SECRET}=b", "each token once (pair 2"),
        (f"{SECRET}=a,=b", "a printable token before the producer id in pair 2"),
        (f"{SECRET}=", "a producer id in pair 1"),
        (SECRET, "token"),
        (f"{SECRET}=-a", "a producer id in pair 1"),
        (f"{SECRET}=a/b", "a producer id in pair 1"),
        (f"{SECRET}=..", "a producer id in pair 1"),
        (f"{SECRET}=" + "a" * 129, "a producer id in pair 1"),
        ([SECRET], "token=producer pairs"),
        ({SECRET: 3}, "token=producer pairs"),
        (7, "token=producer pairs"),
    ],
)
def test_wrong_producers(value: object, words: str) -> None:
    """Wrong producer pairs are refused by position, without showing any token."""
    message = refusal(overrides={"ingest_producers": value})
    assert message.startswith("--ingest-producers: expected ")
    assert words in message
    assert SECRET not in message


def test_token_twice_in_object(write_config: WriteConfig) -> None:
    """A token that occurs twice in the file's object is refused."""
    path = write_config(f'{{"ingestProducers": {{"{SECRET}": "a", "{SECRET}": "b"}}}}')
    message = refusal(config_file_path=path)
    assert "each token once" in message
    assert SECRET not in message


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_producer_id_round_trip(producer: str) -> None:
    """Every id of the contract's shape is taken as it is."""
    option = by_key("ingestProducers")
    assert parse(option, f"t={producer}", "test") == (("t", producer),)


def test_username_is_a_producer_id() -> None:
    """The Basic auth user name must do as a producer id."""
    message = refusal(overrides={"auth_username": "a/b", "auth_password": SECRET})
    assert message.startswith("--auth-username: expected a letter or digit")
    assert message.endswith("got 'a/b'")


def test_username_alone() -> None:
    """A user name without a password is refused, naming what is missing."""
    message = refusal(env={"MIKROSCOPE_AUTH_USERNAME": "admin"})
    assert message.startswith("MIKROSCOPE_AUTH_USERNAME: expected together with --auth-password")
    assert message.endswith("got 'admin' alone")


def test_password_alone(write_config: WriteConfig) -> None:
    """A password without a user name is refused, without showing it."""
    message = refusal(config_file_path=write_config({"authPassword": SECRET}))
    assert message.startswith("authPassword in ")
    assert "--auth-username" in message
    assert SECRET not in message


# https


TLS: dict[str, object] = {"tls_cert_path": "c.pem", "tls_key_path": "k.pem"}


def test_https_switch_and_protocol_agree() -> None:
    """The switch and the protocol may both be given if they say the same."""
    settings = resolve_settings(env={}, overrides=TLS | {"https": True, "protocol": "https"})
    assert settings.protocol == "https"


@pytest.mark.parametrize(("switch", "protocol"), [("false", "https"), ("true", "http")])
def test_https_switch_contradicts(switch: str, protocol: str) -> None:
    """A switch and a protocol that differ within one layer are refused, naming both."""
    message = refusal(env={"MIKROSCOPE_HTTPS": switch, "MIKROSCOPE_PROTOCOL": protocol})
    assert message.startswith(f"MIKROSCOPE_HTTPS: {switch} contradicts MIKROSCOPE_PROTOCOL")


def test_https_off_wins_over_the_file(write_config: WriteConfig) -> None:
    """--https false wins over the file's protocol."""
    path = write_config({"protocol": "https"})
    assert resolve_settings(path, env={}, overrides={"https": "false"}).protocol == "http"


def test_protocol_wins_over_lower_switch() -> None:
    """A protocol of a later layer wins over the switch of an earlier one."""
    settings = resolve_settings(env={"MIKROSCOPE_HTTPS": "1"}, overrides={"protocol": "http"})
    assert settings.protocol == "http"


@pytest.mark.parametrize("missing", ["tls_cert_path", "tls_key_path"])
def test_https_needs_certificate_and_key(missing: str) -> None:
    """https without certificate or key is refused, naming who asked and what is missing."""
    given_paths = {name: path for name, path in TLS.items() if name != missing}
    message = refusal(env={"MIKROSCOPE_HTTPS": "on"}, overrides=given_paths)
    flags = {"tls_cert_path": "--tls-cert", "tls_key_path": "--tls-key"}
    assert message.startswith(f"MIKROSCOPE_HTTPS: expected together with {flags[missing]} (")


def test_http_needs_no_certificate() -> None:
    """http with a certificate alone is fine: it waits for its use."""
    settings = resolve_settings(env={}, overrides={"tls_cert_path": "c.pem"})
    assert settings.protocol == "http"


# Secrets


SECRETS: dict[str, object] = {
    "api_token": SECRET,
    "auth_username": "admin",
    "auth_password": SECRET,
    "ingest_producers": f"{SECRET}=api",
    "alert_webhook_url": f"https://hooks.example.com/{SECRET}",
}


def test_repr_hides_secrets() -> None:
    """No secret is in the repr of the settings."""
    assert SECRET not in repr(resolve_settings(env={}, overrides=SECRETS))


def test_describe_masks_secrets() -> None:
    """A description masks every secret that is set."""
    described = describe(resolve_settings(env={}, overrides=SECRETS))
    assert SECRET not in json.dumps(described)
    for key in ("apiToken", "authPassword", "ingestProducers", "alertWebhookUrl"):
        assert described[key] == "[configured]"


def test_describe_is_complete() -> None:
    """A description has every option by its JSON key, with the alert policy file as in force."""
    described = describe(resolve_settings(env={}))
    assert described.keys() == {option.key for option in options() if option.key} - {"https"}
    assert described["apiToken"] is None
    assert described["corsAllowOrigin"] == ["*"]
    assert described["alertConfigPath"] == "data/mikroscope.alert-config.json"


@pytest.mark.parametrize("key", ["apiToken", "authPassword", "ingestProducers", "alertWebhookUrl"])
def test_errors_hide_secrets(key: str, write_config: WriteConfig) -> None:
    """An error about a secret option never shows what was given."""
    message = refusal(config_file_path=write_config({key: [f"{SECRET}\n"]}))
    assert SECRET not in message
    assert message.endswith(" (value not shown)")


def test_long_values_are_cut() -> None:
    """A long wrong value is shown only in part."""
    assert len(shown("x" * 1000)) < 100


# Import


def test_light_import() -> None:
    """The settings load no heavy module, for every command starts with them."""
    code = "import sys, mikroscope.settings; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"apsw", "click", "difflib", "httpx", "msgspec", "rich", "starlette", "uvicorn"}
    assert not heavy & set(loaded)


def test_no_sentence_without_end() -> None:
    """Every help text is a sentence fit for a table: it ends in a full stop and has no bar."""
    for option in options():
        assert re.fullmatch(r"[A-Z][^|\n]+\.", option.help)


# --- variables that are not options -------------------------------------------------------------


def test_misspelt_variable(caplog: pytest.LogCaptureFixture) -> None:
    """A variable with our prefix that is not an option gets a warning with the nearest name."""
    resolve_settings(env={"MIKROSCOPE_API_TOKN": "secret", "OTHER_PORT": "x"})
    (message,) = caplog.messages
    assert message == (
        "MIKROSCOPE_API_TOKN is not an option and is ignored. Did you mean 'MIKROSCOPE_API_TOKEN'?"
    )


def test_variables_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """What Kubernetes sets for services, and our installer's variables, are not options."""
    env = {
        "MIKROSCOPE_PORT": "tcp://10.0.0.1:4310",
        "MIKROSCOPE_SERVICE_HOST": "10.0.0.1",
        "MIKROSCOPE_SERVICE_PORT": "4310",
        "MIKROSCOPE_SERVICE_PORT_HTTP": "4310",
        "MIKROSCOPE_PORT_4310_TCP": "tcp://10.0.0.1:4310",
        "MIKROSCOPE_PORT_4310_TCP_PROTO": "tcp",
        "MIKROSCOPE_PORT_4310_TCP_PORT": "4310",
        "MIKROSCOPE_PORT_4310_TCP_ADDR": "10.0.0.1",
        "MIKROSCOPE_API_PORT": "udp://10.0.0.2:80",
        "MIKROSCOPE_API_SERVICE_HOST": "10.0.0.2",
        "MIKROSCOPE_API_PORT_80_UDP_ADDR": "10.0.0.2",
        "MIKROSCOPE_INSTALL_DIR": "/opt/mikroscope",
        "MIKROSCOPE_BIN_DIR": "/opt/bin",
        "MIKROSCOPE_PYTHON": "python3",
    }
    assert resolve_settings(env=env).port == 4310
    assert caplog.messages == []
    assert resolve_settings(env=env | {"MIKROSCOPE_PORT": "4311"}).port == 4311


@pytest.mark.parametrize(
    ("env", "overrides", "expected"),
    [
        ({"MIKROSCOPE_API_TOKEN": ""}, {}, ["MIKROSCOPE_API_TOKEN is empty"]),
        ({"MIKROSCOPE_API_TOKEN": "  "}, {}, ["MIKROSCOPE_API_TOKEN is empty"]),
        ({}, {"api_token": ""}, ["--api-token is empty"]),
        ({"MIKROSCOPE_API_TOKEN": ""}, {"api_token": "t"}, []),
        ({"MIKROSCOPE_API_TOKEN": "t"}, {"api_token": ""}, []),
        ({"MIKROSCOPE_INGEST_PRODUCERS": ""}, {}, ["MIKROSCOPE_INGEST_PRODUCERS is empty"]),
        ({"MIKROSCOPE_AUTH_USERNAME": ""}, {}, ["MIKROSCOPE_AUTH_USERNAME is empty"]),
        ({"MIKROSCOPE_ALERT_WEBHOOK_URL": "", "MIKROSCOPE_PORT": ""}, {}, []),
    ],
)
def test_empty_credentials_are_warned_of(
    caplog: pytest.LogCaptureFixture,
    env: dict[str, str],
    overrides: dict[str, object],
    expected: list[str],
) -> None:
    """Credentials that are given without a value get a warning unless another layer has one."""
    resolve_settings(env=env, overrides=overrides)
    assert [text.split(" and counts")[0] for text in caplog.messages] == expected


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30", "-03", "CET", "Z"])
def test_default_timezone(zone: str) -> None:
    """The zone of times that name none is an IANA name, an offset or a known abbreviation."""
    settings = resolve_settings(env={"MIKROSCOPE_DEFAULT_TIMEZONE": f" {zone} "})
    assert settings.default_timezone == zone


@pytest.mark.parametrize("zone", ["Berlin", "Europe/Atlantis", "+25:00", "IST", "../etc/passwd"])
def test_wrong_timezone(zone: str) -> None:
    """A zone that is not known, or means several, is refused."""
    message = refusal(overrides={"defaultTimezone": zone})
    assert message.startswith("--default-timezone: expected a time zone such as Europe/Berlin")
