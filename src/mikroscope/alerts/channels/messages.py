"""Makes the body to post for a notification, in the format of each service.

Limits are those of the services' documentation: 3,000 characters for a text of Slack's, 2,000 for
the content of a message in Discord, 28 KB for one in Teams. Beyond them a service answers 400, and
the alert would be lost. Which unit a service counts is not always said, so texts are cut by the
larger measure: UTF-16 units, or bytes.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mikroscope.alerts.channels.formats import DISCORD_LIMIT, text_limit
from mikroscope.alerts.rules import Notification
from mikroscope.records.timestamps import format_time
from mikroscope.settings.values import WebhookFormat

_LONGEST_LINE = 1_000  # a chat is no place to read more
_TEAMS_LINES_BYTES = 18_000  # together; messages over 21 KB have been refused
_SLACK_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SUPPRESS_EMBEDS = 4  # Discord's flag: no previews of links
_MOST_JOINED = 32  # characters of one emoji, or accents on one letter

Cost = Callable[[str], int]


def encode(
    format_: WebhookFormat,
    notification: Notification,
    lines: Sequence[str],
    *,
    now_ms: int,
    service_url: str,
    webhook_url: str,
) -> bytes:
    """Return the JSON to post; `format_` is not `auto`.

    Lines are log lines, each one line of text without secrets; only messages have them.
    """
    if format_ == "mikroscope":
        return payload(notification, now_ms, service_url)
    sentence = f"MikroScope at {service_url}: {notification.sentence}"
    if lines:
        sentence += f" {notification.heading(len(lines))}:"
    if format_ == "slack":
        content: Any = _slack(sentence, lines, text_limit(webhook_url))
    elif format_ == "discord":
        content = _discord(sentence, lines)
    else:
        content = _teams(sentence, lines)
    return msgspec.json.encode(content)


def payload(notification: Notification, now_ms: int, service_url: str) -> bytes:
    """Return MikroScope's own JSON for a notification."""
    return msgspec.json.encode(
        {
            "source": "mikroscope",
            "rule": notification.rule,
            "severity": notification.severity,
            "triggeredAt": format_time(now_ms),
            "serviceUrl": service_url,
            "details": notification.details,
        }
    )


def _slack(sentence: str, lines: Sequence[str], limit: int) -> dict[str, Any]:
    """Mattermost, Rocket.Chat and others take it as well: they know `text`, but no blocks."""
    text = sentence.translate(_SLACK_ENTITIES) + _block(lines, sentence, limit, _slack_cost)
    return {"text": text}


def _discord(sentence: str, lines: Sequence[str]) -> dict[str, Any]:
    """Whatever a log line says, it mentions no one."""
    return {
        "content": sentence + _block(lines, sentence, DISCORD_LIMIT, _utf16_cost),
        "allowed_mentions": {"parse": []},
        "flags": _SUPPRESS_EMBEDS,
    }


def _teams(sentence: str, lines: Sequence[str]) -> dict[str, Any]:
    """An Adaptive Card. Log lines are text runs, since text blocks would read them as Markdown."""
    body: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": sentence, "weight": "Bolder", "wrap": True}
    ]
    for line in fit(lines, _TEAMS_LINES_BYTES, _json_cost):
        run = {"type": "TextRun", "text": line, "fontType": "Monospace", "size": "Small"}
        body.append({"type": "RichTextBlock", "inlines": [run]})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "summary": sentence, "attachments": [attachment]}


def _block(lines: Sequence[str], sentence: str, limit: int, cost: Cost) -> str:
    """Return the lines as a block of code, so that nothing in them is markup."""
    if not lines:
        return ""
    fence = "\n```"
    left = limit - cost(sentence) - 2 * len(fence) - len(lines)
    # Three backticks would end the block.
    shown = fit([line.replace("```", "'''") for line in lines], left, cost)
    if cost is _slack_cost:
        shown = [line.translate(_SLACK_ENTITIES) for line in shown]
    return "\n".join((fence, *shown)) + fence


def fit(lines: Sequence[str], limit: int, cost: Cost) -> list[str]:
    """Cut lines so that together they cost at most `limit`; the longest ones are cut first."""
    shown = [cut(line, _LONGEST_LINE, len) for line in lines]
    left, waiting = limit, len(lines)
    for number in sorted(range(len(lines)), key=lambda one: cost(shown[one])):
        shown[number] = cut(shown[number], left // waiting, cost)
        left -= cost(shown[number])
        waiting -= 1
    return shown


def cut(text: str, limit: int, cost: Cost) -> str:
    """Return a text that costs at most `limit`, with "…" where its rest was cut off.

    It is never cut within a character, also one that is made of several: a letter with accents, an
    emoji with a skin tone, a family, a flag.
    """
    if cost(text) <= limit:
        return text
    left, end = limit - cost("…"), 0
    while end < len(text) and (left := left - cost(text[end])) >= 0:
        end += 1
    for _ in range(_MOST_JOINED):
        if end <= 0 or not _is_joined(text, end):
            break
        end -= 1
    return text[:end] + "…" if limit >= cost("…") else ""


def _is_joined(text: str, at: int) -> bool:
    """Return whether two characters belong together, before and after this position."""
    before, after = text[at - 1], text[at : at + 1]
    if not after:
        return False
    if "\N{ZERO WIDTH JOINER}" in (before, after) or unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff":  # skin tones
        return True
    flags = len(text[:at]) - len(text[:at].rstrip(_REGIONAL_INDICATORS))
    return after in _REGIONAL_INDICATORS and flags % 2 == 1


_REGIONAL_INDICATORS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two of them are a flag


def _utf16_cost(text: str) -> int:
    return len(text) + sum(sign > "\uffff" for sign in text)


def _slack_cost(text: str) -> int:
    return _utf16_cost(text.translate(_SLACK_ENTITIES))


def _json_cost(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2
