"""The stored alert policy, and the stored times of the last notifications."""

import stat
from pathlib import Path

import pytest

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.alerts.storage import load_last_sent, load_policy
from mikroscope.disk import write_json
from mikroscope.errors import ConfigurationError
from tests.helpers.alerts import LIMITS, POLICY, policy


def test_policy_file(tmp_path: Path) -> None:
    """A stored policy is read back, and readable by its owner only."""
    path = tmp_path / "deeper" / "policy.json"
    stored = policy(interval_ms=2000, webhook_backoff_ms=25)
    write_json(path, stored)
    assert load_policy(path, policy(error_threshold=99), LIMITS) == stored
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["policy.json"]


def test_no_policy_file(tmp_path: Path) -> None:
    """Without a file the policy of the options is in force."""
    assert load_policy(tmp_path / "none.json", POLICY, LIMITS) == POLICY


def load(tmp_path: Path, content: str) -> AlertPolicy:
    """Load a policy file with this content."""
    path = tmp_path / "policy.json"
    path.write_text(content)
    return load_policy(path, POLICY, LIMITS)


def test_empty_policy_file(tmp_path: Path) -> None:
    """A file without any field does not change the policy of the options."""
    assert load(tmp_path, "{}") == POLICY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ('{"nope": 1}', "Unknown field 'nope'. Expected one of enabled, webhookUrl, "),
        ('{"enabled": "maybe"}', "enabled: expected true or false, got 'maybe'"),
        ('{"errorThreshold": "7"}', "errorThreshold: expected a whole number from 1 to 100"),
        ('{"errorThreshold": 101}', "from 1 to 100, got 101"),
        ('{"errorThreshold": 100.5}', "from 1 to 100, got 101"),
        ('{"errorTreshold": 1}', "Did you mean errorThreshold? Correct the file or delete it"),
        ('{"webhookFormat": "irc"}', "webhookFormat: expected auto, mikroscope, slack, discord or"),
        ('{"noLogsThresholdMinutes": -1}', "whole number from 0 to "),
        (
            '{"webhookUrl": "ftp://SECRET"}',
            "webhookUrl must begin with http:// or https:// (",
        ),
        ('{"webhookUrl": null, "enabled": true}', "enabled: expected false without a web"),
    ],
)
def test_wrong_policy_file(tmp_path: Path, content: str, message: str) -> None:
    """A wrong file is an error of one line naming file, field and expectation, but no secret."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'policy.json'}")
    assert message in text
    assert "SECRET" not in text
    assert "\n" not in text


@pytest.mark.parametrize("number", ["0", "-5", "-5.0"])
def test_policy_file_below_a_floor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: str
) -> None:
    """A number below its floor is raised to it, with a warning that names file and field."""
    found = load(tmp_path, f'{{"intervalMs": {number}, "errorThreshold": 5}}')
    assert (found.interval_ms, found.error_threshold) == (1000, 5)
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path / 'policy.json'}: intervalMs: ")
    assert warning.endswith("is too low and is raised to 1000")


@pytest.mark.parametrize(
    ("stored", "minutes"), [("2.5", 3), ("2.4", 2), ("1e0", 1), ("7.0", 7), ("0.2", 1), ("0.5", 1)]
)
def test_policy_file_with_fractions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: str, minutes: int
) -> None:
    """A fraction, which the original stored, is rounded with a warning that names the field."""
    assert load(tmp_path, f'{{"windowMinutes": {stored}}}').window_minutes == minutes
    is_whole = float(stored).is_integer()
    rounded = [line for line in caplog.messages if f"windowMinutes: {stored} is rounded" in line]
    assert len(rounded) == (0 if is_whole else 1)


@pytest.mark.parametrize(("stored", "minutes"), [("0.2", 1), ("0.001", 1), ("1.5", 2), ("0.0", 0)])
def test_fraction_that_switches_a_rule_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: str, minutes: int
) -> None:
    """Rounding never switches off a rule that is on: a part of a minute counts as one."""
    found = load(tmp_path, f'{{"noLogsThresholdMinutes": {stored}}}')
    assert found.no_logs_threshold_minutes == minutes
    assert len(caplog.messages) == (0 if minutes == 0 else 1)


def test_policy_file_with_an_empty_url(tmp_path: Path) -> None:
    """An empty URL is none, and switches alerts off."""
    found = load(tmp_path, '{"webhookUrl": " "}')
    assert (found.enabled, found.webhook_url) == (False, None)


def test_policy_file_without_a_format(tmp_path: Path) -> None:
    """A file of the original, which has no format, takes that of the options."""
    path = tmp_path / "policy.json"
    path.write_text('{"errorThreshold": 7}')
    assert load_policy(path, policy(webhook_format="teams"), LIMITS).webhook_format == "teams"


def test_last_sent(tmp_path: Path) -> None:
    """The times of the last notifications are read back."""
    path = tmp_path / "state.json"
    write_json(path, {"no_logs": 5})
    assert load_last_sent(path) == {"no_logs": 5}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"no_logs": "now"}'])
def test_unknown_last_sent(tmp_path: Path, content: str | None) -> None:
    """Without a file that can be used no rule has notified yet."""
    path = tmp_path / "state.json"
    if content is not None:
        path.write_text(content)
    assert load_last_sent(path) == {}
