"""Decides which format a webhook takes, by its URL and by what it answers."""

import re
from urllib.parse import urlsplit

from mikroscope.settings.values import WebhookFormat

SLACK_LIMIT = 3_000
DISCORD_LIMIT = 2_000

_SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
_DISCORD_HOSTS = ("discord.com", "discordapp.com")
_CONNECTOR_HOSTS = ("webhook.office.com", "webhook.office365.us")
_OUTLOOK_HOSTS = ("outlook.office.com", "outlook.office365.com")
_WORKFLOW_HOSTS = ("logic.azure.com", "logic.azure.us", "powerplatform.com", "powerplatform.us")

# What services answer to JSON that is not theirs, and what they expect.
_HINTS: tuple[tuple[WebhookFormat, str, str], ...] = (
    ("slack", 'Slack expects {"text": …}', "no_text|invalid_payload|no text specified"),
    ("discord", 'Discord expects {"content": …}', r"send an empty message|\b50006\b"),
    ("teams", "Teams expects an Adaptive Card", "text is required|bad payload|AdaptiveCard"),
)


def format_of(chosen: WebhookFormat, url: str) -> WebhookFormat:
    """Return the format for a webhook: the one that was chosen, or for `auto` that of its URL.

    Slack, Discord and Teams are recognised by host and path; any other URL gets `mikroscope`.
    """
    if chosen != "auto":
        return chosen
    host, path = _place(url)
    if host in _SLACK_HOSTS:
        return "slack"
    if _is_discord(host, path):
        # Discord takes Slack's format at a path of its own.
        return "slack" if path.rstrip("/").endswith("/slack") else "discord"
    return "teams" if _is_teams(host, path) else "mikroscope"


def text_limit(url: str) -> int:
    """Return how many UTF-16 units the text of a message in Slack's format may have."""
    return DISCORD_LIMIT if _is_discord(*_place(url)) else SLACK_LIMIT


def hint(sent: WebhookFormat, refusal: str) -> str:
    """Return what to do about the refusal of a webhook, to follow its text; empty if unknown."""
    if sent != "mikroscope":
        return ""  # the service knows its own format: something else is wrong
    for format_, expected, pattern in _HINTS:
        if re.search(pattern, refusal, re.IGNORECASE):
            guide = "see Alerts into Slack in the how-to guides"
            return f". {expected}; {guide} (set webhookFormat to {format_})"
    return ""


def _place(url: str) -> tuple[str, str]:
    """Return host and path in lower case."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.path.lower()


def _is_below(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _is_discord(host: str, path: str) -> bool:
    is_webhook = re.match(r"/api(/v\d+)?/webhooks/", path) is not None
    return is_webhook and _is_below(host, _DISCORD_HOSTS)


def _is_teams(host: str, path: str) -> bool:
    if _is_below(host, _CONNECTOR_HOSTS):
        return True
    if host in _OUTLOOK_HOSTS:
        return path.startswith("/webhook")
    return "/workflows/" in path and _is_below(host, _WORKFLOW_HOSTS)
