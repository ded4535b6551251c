"""The bodies that are posted: what each service is sent, and how long texts are cut."""

import json
from typing import Any

import pytest

from mikroscope.alerts.channels.messages import cut, encode, fit
from mikroscope.alerts.rules import MANUAL_TEST, Notification, Observation, firing_rules
from mikroscope.settings.values import WebhookFormat
from tests.helpers.alerts import NOW, POLICY, policy

SERVICE = "http://127.0.0.1:4310"
(ERRORS,) = firing_rules(POLICY, Observation(25, 310, NOW), NOW)
(SILENCE,) = firing_rules(
    policy(no_logs_threshold_minutes=2), Observation(0, 0, NOW - 180_000), NOW
)
ONE = "2026-02-18T10:19:59.123Z ERROR boom"


def sent(
    format_: WebhookFormat,
    lines: list[str] | None = None,
    notification: Notification = ERRORS,
    url: str = "http://127.0.0.1:9/hook",
) -> Any:
    """Return the JSON that is posted."""
    body = encode(
        format_, notification, lines or [], now_ms=NOW, service_url=SERVICE, webhook_url=url
    )
    return json.loads(body)


def utf16(text: str) -> int:
    """Return the length of a text as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2


def texts(body: Any) -> str:
    """Return all that a message shows."""
    if "attachments" not in body:
        return str(body.get("text", body.get("content")))
    shown = []
    for block in body["attachments"][0]["content"]["body"]:
        shown += [block["text"]] if "text" in block else [run["text"] for run in block["inlines"]]
    return "\n".join(shown)


@pytest.mark.parametrize(
    ("notification", "details"),
    [
        (SILENCE, {"thresholdMinutes": 2}),
        (MANUAL_TEST, {"message": "Manual webhook test from MikroScope"}),
    ],
)
def test_own_json(notification: Notification, details: dict[str, object]) -> None:
    """MikroScope's own JSON has source, rule, severity, time, service and details, and no lines."""
    assert sent("mikroscope", [ONE], notification) == {
        "source": "mikroscope",
        "rule": notification.rule,
        "severity": "warning",
        "triggeredAt": "2026-02-18T10:20:00.000Z",
        "serviceUrl": SERVICE,
        "details": details,
    }


SENTENCE = f"MikroScope at {SERVICE}: 25 errors in the last 5 minutes; the threshold is 3."


def test_slack() -> None:
    """Slack gets one text: the sentence, and the lines as a block of code."""
    assert sent("slack", [ONE, "b"]) == {"text": f"{SENTENCE} The newest 2:\n```\n{ONE}\nb\n```"}


def test_discord() -> None:
    """Discord gets the same as content, and may mention no one."""
    body = sent("discord", [ONE, "@everyone"])
    assert body["content"] == f"{SENTENCE} The newest 2:\n```\n{ONE}\n@everyone\n```"
    assert body["allowed_mentions"] == {"parse": []}


def test_teams() -> None:
    """Teams gets an Adaptive Card in a message; lines are runs of text, which know no Markdown."""
    body = sent("teams", [ONE, "[a](http://b)"])
    (attachment,) = body["attachments"]
    card = attachment["content"]
    assert (body["type"], body["summary"]) == ("message", f"{SENTENCE} The newest 2:")
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert [block["type"] for block in card["body"]] == ["TextBlock", *["RichTextBlock"] * 2]
    assert card["body"][2]["inlines"][0]["text"] == "[a](http://b)"


@pytest.mark.parametrize("format_", ["slack", "discord", "teams"])
def test_without_lines(format_: WebhookFormat) -> None:
    """Without lines the message is the sentence alone."""
    assert texts(sent(format_)) == SENTENCE


@pytest.mark.parametrize("format_", ["slack", "discord", "teams"])
def test_silence_and_test(format_: WebhookFormat) -> None:
    """Silence and tests have sentences of their own."""
    text = texts(sent(format_, [ONE], SILENCE))
    assert "no new log entry for 3 minutes; the threshold is 2 minutes. The last entry:" in text
    assert "Manual webhook test" in texts(sent(format_, [], MANUAL_TEST))


def test_slack_escapes() -> None:
    """What Slack reads as markup is escaped, so that no line can mention anyone."""
    text = sent("slack", ["<!channel> a & b -> c"])["text"]
    assert "&lt;!channel&gt; a &amp; b -&gt; c" in text


@pytest.mark.parametrize("format_", ["slack", "discord"])
def test_line_cannot_end_the_block(format_: WebhookFormat) -> None:
    """Backticks in a line do not end the block of code."""
    text = texts(sent(format_, ["a ``` b ```` c", "`"]))
    assert text.count("```") == 2
    assert text.endswith("\n```")


LONG = {
    "ascii": "x" * 20_000,
    "entities": "&<>" * 5_000,
    "emoji": "\U0001f600" * 5_000,
    "chinese": "\u9519" * 5_000,
    "backslashes": '\\"' * 5_000,
    "backticks": "`" * 5_000,
    "right to left": "\u05e9" * 5_000,
}


@pytest.mark.parametrize("line", LONG.values(), ids=LONG)
@pytest.mark.parametrize(
    ("format_", "url", "limit"),
    [
        ("slack", "https://hooks.slack.com/x", 3000),
        ("slack", "https://discord.com/api/webhooks/1/key/slack", 2000),
        ("discord", "https://discord.com/api/webhooks/1/key", 2000),
    ],
)
def test_text_limits(format_: WebhookFormat, url: str, limit: int, line: str) -> None:
    """However long lines are, the text keeps the limit and uses most of it."""
    text = texts(sent(format_, [line] * 5, url=url))
    assert limit * 0.9 < utf16(text) <= limit
    assert text.count("…") == 5
    assert text.endswith("\n```")


@pytest.mark.parametrize("line", LONG.values(), ids=LONG)
def test_teams_limit(line: str) -> None:
    """A message to Teams stays below 21 KB, in UTF-8."""
    body = encode("teams", ERRORS, [line] * 5, now_ms=NOW, service_url=SERVICE, webhook_url="")
    assert len(body) < 21_000


def test_short_lines_leave_their_room_to_long_ones() -> None:
    """Only the longest lines are cut."""
    assert fit(["a" * 50, "b", "c" * 20], 50, len) == ["a" * 28 + "…", "b", "c" * 20]
    assert fit([], 50, len) == []


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("abcd", 1, "…"),
        ("abcd", 0, ""),
        ("abcd", -5, ""),
        ("ae\u0301x", 3, "a…"),  # an accent of its own
        ("a\U0001f44d\U0001f3fdx", 3, "a…"),  # a skin tone
        ("a\U0001f468\u200d\U0001f469x", 4, "a…"),  # two people, joined
        ("a\u2764\ufe0fx", 3, "a…"),  # a heart, as an emoji
        ("a\U0001f1e9\U0001f1eax", 3, "a…"),  # a flag
        ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7x", 4, "\U0001f1e9\U0001f1ea…"),  # two flags
    ],
)
def test_cut(text: str, limit: int, shown: str) -> None:
    """A text is cut before a character, never within one."""
    assert cut(text, limit, len) == shown


def test_cut_ends() -> None:
    """A text of accents only is cut somewhere."""
    assert len(cut("a" + "\u0301" * 500, 100, len)) > 60
