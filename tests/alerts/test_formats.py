"""The format of a webhook: by its URL, by choice, and the hint where it was the wrong one."""

import pytest

from mikroscope.alerts.channels.formats import (
    DISCORD_LIMIT,
    SLACK_LIMIT,
    format_of,
    hint,
    text_limit,
)
from mikroscope.settings.values import WEBHOOK_FORMATS

WORKFLOW = "powerautomate/automations/direct/workflows/0a/triggers/manual/paths/invoke?sig=x"


@pytest.mark.parametrize(
    ("url", "format_"),
    [
        ("https://hooks.slack.com/services/T0/B0/key", "slack"),
        ("https://hooks.slack.com:443/services/T0/B0/key/", "slack"),
        ("HTTPS://user:pw@Hooks.SLACK.com./triggers/T0/1/key", "slack"),
        ("https://hooks.slack-gov.com/services/T0/B0/key", "slack"),
        ("https://discord.com/api/webhooks/1/key", "discord"),
        ("https://discordapp.com/api/webhooks/1/key?wait=true", "discord"),
        ("https://ptb.discord.com/api/webhooks/1/key", "discord"),
        ("https://canary.discord.com/api/v10/webhooks/1/key", "discord"),
        ("https://discord.com/api/webhooks/1/key/slack", "slack"),
        ("https://acme.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d", "teams"),
        ("https://outlook.office.com/webhook/a@b/IncomingWebhook/c/d", "teams"),
        ("https://outlook.office365.com/webhook/a", "teams"),
        ("https://prod-12.westus.logic.azure.com:443/workflows/0a/triggers/manual", "teams"),
        (f"https://default1a.2b.environment.api.powerplatform.com:443/{WORKFLOW}", "teams"),
    ],
)
def test_recognised(url: str, format_: str) -> None:
    """Slack, Discord and Teams are recognised by host and path, however the URL is written."""
    assert format_of("auto", url) == format_


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9099/hook",
        "http://localhost/hooks.slack.com",
        "https://hooks.slack.com.evil.example/services/T0/B0/key",
        "https://evilhooks.slack.com/services/T0",
        "https://example.com/?u=https://hooks.slack.com/services/T0",
        "https://hooks.slack.com@example.com/services",
        "https://slack.com/api/chat.postMessage",
        "https://h\u043e\u043eks.slack.com/services/T0",  # Cyrillic o
        "https://discord.com/channels/1",
        "https://notdiscord.com/api/webhooks/1/key",
        "https://outlook.office.com/mail",
        "https://webhook.office.com.example/webhookb2/a",
        "https://acme.logic.azure.com/api/other",
        "https://www.powerplatform.com/",
        "https://mattermost.example/hooks/key",
    ],
)
def test_not_recognised(url: str) -> None:
    """Every other URL gets MikroScope's own JSON, also one that only looks like a service's."""
    assert format_of("auto", url) == "mikroscope"


def test_chosen() -> None:
    """A format that was chosen holds for any URL."""
    for chosen in WEBHOOK_FORMATS[1:]:
        assert format_of(chosen, "https://discord.com/api/webhooks/1/key") == chosen  # type: ignore[arg-type]


def test_limit() -> None:
    """A text in Slack's format is as long as the service behind the URL allows."""
    assert text_limit("https://mattermost.example/hooks/key") == SLACK_LIMIT
    assert text_limit("https://discord.com/api/webhooks/1/key/slack") == DISCORD_LIMIT


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("answered with status 400: no_text", 'Slack expects {"text": …}; see Alerts into Slack'),
        ("answered with status 400: invalid_payload", "webhookFormat to slack"),
        ('answered with status 400: {"message":"No text specified."}', "webhookFormat to slack"),
        ('status 400: {"message": "Cannot send an empty message", "code": 50006}', "to discord"),
        ("answered with status 400: Summary or Text is required.", "webhookFormat to teams"),
    ],
)
def test_hint(answer: str, named: str) -> None:
    """The refusal of a service that wants a message says which format to set."""
    assert named in hint("mikroscope", answer)


def test_no_hint() -> None:
    """There is no hint where the format was right, or the reason is another one."""
    assert hint("slack", "answered with status 400: no_text") == ""
    assert hint("mikroscope", "answered with status 404: no_service") == ""
