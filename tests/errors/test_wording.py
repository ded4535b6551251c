"""Counts agree with their nouns, and wrong names lead to what was meant."""

import pytest

from mikroscope.errors.wording import did_you_mean, in_words, nearest
from mikroscope.settings.options import options

FLAGS = [option.flag for option in options()]
KEYS = [option.key for option in options() if option.key]
VARIABLES = [option.env for option in options()]


@pytest.mark.parametrize(
    ("count", "what", "expected"),
    [
        (0, "log file", "0 log files"),
        (1, "day", "1 day"),
        (30, "day", "30 days"),
        (2, "audit entry", "2 audit entries"),
        (1, "log directory", "1 log directory"),
        (192_536, "log directory", "192,536 log directories"),
    ],
)
def test_in_words(count: int, what: str, expected: str) -> None:
    """A count agrees with its noun."""
    assert in_words(count, what) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logPath", "logsPath"),
        ("dbFile", "dbPath"),
        ("token", "apiToken"),
        ("tlsCert", "tlsCertPath"),
        ("webhookUrl", "alertWebhookUrl"),
        ("prot", "port"),
        ("ingestQueFlushMs", "ingestQueueFlushMs"),
        ("--log-requests", "logRequests"),
        ("MIKROSCOPE_LOG_FORMAT", "logFormat"),
        ("zzz", None),
        ("sports", None),
        ("x", None),
    ],
)
def test_nearest_key(name: str, expected: str | None) -> None:
    """A wrong key is known by its meaning, its spelling in another layer, or a typing error."""
    assert nearest(name, KEYS) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("errorTreshold", "errorThreshold"),
        ("threshold", "errorThreshold"),
        ("url", "webhookUrl"),
        ("cooldown", "cooldownMs"),
        ("colour", None),
    ],
)
def test_nearest_field_of_the_policy(name: str, expected: str | None) -> None:
    """The fields of the alert policy have shorter names than its options."""
    assert nearest(name, ["webhookUrl", "errorThreshold", "cooldownMs", "intervalMs"]) == expected


def test_the_same_names_in_every_layer() -> None:
    """A meaning is found among flags and variables as well."""
    assert nearest("--bind", FLAGS) == "--host"
    assert nearest("--db-path", FLAGS) == "--db"
    assert nearest("MIKROSCOPE_BIND", VARIABLES) == "MIKROSCOPE_HOST"
    assert nearest("MIKROSCOPE_DB", VARIABLES) == "MIKROSCOPE_DB_PATH"


@pytest.mark.parametrize("name", ["--since", "--format", "--url", "--colour", "--nonsense"])
def test_names_that_are_only_alike(name: str) -> None:
    """A name that shares some letters with another is not suggested."""
    assert nearest(name, ["--version", "--cursor", "--help", "--level"]) is None


def test_did_you_mean() -> None:
    """The suggestion ends an error; there is none without a meaning."""
    assert did_you_mean("since", ["from", "to"]) == ". Did you mean 'from'?"
    assert did_you_mean("colour", ["from", "to"]) == ""
