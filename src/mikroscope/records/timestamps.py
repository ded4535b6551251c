"""Converts the times that loggers write to epoch milliseconds, and back to ISO 8601 text.

Accepted are the forms of ISO 8601 and RFC 3339 that loggers write, and epoch numbers, whose unit
follows from their size; `docs/reference.md` lists them. A time without a zone is UTC.
"""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

# Forms that loggers write but datetime.fromisoformat refuses: lower-case t and z, a space before
# the zone, UTC or GMT as the zone, a leap second.
_LOOSE_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)([.,]\d+)?\s*(?:([Zz]|UTC|GMT)|([+-]\d\d:?\d\d))?"
)
# Epoch numbers that it would accept as a date and time, because it allows any character between
# the two: 1712010112345.
_EPOCH_TEXT = re.compile(r"\d{9,}\.?\d*")

_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:", re.ASCII)
_MAX_MINUTES = 10_000


def parse_time(value: object) -> int | None:
    """Return the epoch milliseconds of a string, a number or `{seconds, nanos}`.

    None if the value is not a time.
    """
    if isinstance(value, str):
        found = canonical_ms(value)
        if found is None:
            found = parse_iso(value)
        return found if found is not None else _parse_digits(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return parse_epoch(value)
    if isinstance(value, dict):
        return _parse_parts(value)
    return None


def possible_times(text: str) -> set[int]:
    """Return each time that a value with this text may mean, as a string and as a number.

    The two differ for a text such as 20260218, which is a date as a string.
    """
    return {found for found in (parse_time(text), _parse_digits(text)) if found is not None}


def canonical_ms(text: str) -> int | None:
    """Return the epoch milliseconds of YYYY-MM-DDTHH:MM:SS.mmmZ; None for any other form.

    `format_time` restores exactly that text. Most logs use this form, and neighbouring lines share
    a minute, so minutes are cached.
    """
    second, fraction = _SECONDS.get(text[17:20]), _FRACTIONS.get(text[20:])
    if second is None or fraction is None:
        return None
    minute = _MINUTES[text[:17]]
    return None if minute is None else minute + second + fraction


class _Minutes(dict[str, int | None]):
    """Cache of the epoch milliseconds of minutes by text; None for invalid ones."""

    def __missing__(self, text: str) -> int | None:
        if len(self) >= _MAX_MINUTES:
            self.clear()
        is_minute = _MINUTE.fullmatch(text) is not None
        self[text] = parse_iso(f"{text}00Z") if is_minute else None
        return self[text]


_MINUTES = _Minutes()
_SECONDS = {f"{second:02}.": second * 1000 for second in range(60)}
_FRACTIONS = {f"{fraction:03}Z": fraction for fraction in range(1000)}


class _MinuteTexts(dict[int, str]):
    """Cache of the text of minutes since 1970, up to the colon before the seconds."""

    def __missing__(self, minute: int) -> str:
        if len(self) >= _MAX_MINUTES:
            self.clear()
        moment = EPOCH + timedelta(minutes=minute)
        self[minute] = f"{moment.replace(tzinfo=None).isoformat(timespec='minutes')}:"
        return self[minute]


_MINUTE_TEXTS = _MinuteTexts()


def parse_iso(text: str) -> int | None:
    """Return the epoch milliseconds of an ISO 8601 text; None if it is not one.

    Fractions of a millisecond are truncated, not rounded.
    """
    if text[4:5] != "-" and _EPOCH_TEXT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _parse_loose(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MILLISECOND


def parse_epoch(number: float) -> int | None:
    """Return the epoch milliseconds of a number in s, ms, µs or ns; None if out of range.

    The unit follows from the size; 1e11, where milliseconds begin, is the year 5138 in seconds.
    """
    size = abs(number)
    if size < 1e11:
        milliseconds = round(number * 1_000_000) // 1000  # 0.123 * 1000 is not always 123
    elif size < 1e14:
        milliseconds = int(number)
    elif size < 1e17:
        milliseconds = int(number // 1000)
    elif size < 1e20:
        milliseconds = int(number // 1_000_000)
    else:
        return None
    return milliseconds if FIRST_MS <= milliseconds <= LAST_MS else None


def format_time(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC with milliseconds and Z."""
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_MINUTE_TEXTS[minute]}{rest // 1000:02}.{rest % 1000:03}Z"


def format_moment(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z; the datetime must have a zone."""
    return format_time((moment - EPOCH) // MILLISECOND)


def _parse_loose(text: str) -> int | None:
    match = _LOOSE_ISO.fullmatch(text.strip())
    if match is None:
        return None
    date, minute, second, fraction, _utc, offset = match.groups()
    leap = second == "60"  # datetime has no second 60, so the next one is meant
    plain = f"{date}T{minute}:{'59' if leap else second}{fraction or ''}{offset or 'Z'}"
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return (moment - EPOCH) // MILLISECOND + (1000 if leap else 0)


def _parse_digits(text: str) -> int | None:
    try:
        return parse_epoch(int(text) if text.removeprefix("-").isdecimal() else float(text))
    except (ValueError, OverflowError):
        return None


def _parse_parts(parts: dict[str, object]) -> int | None:
    seconds, nanos = parts.get("seconds"), parts.get("nanos", 0)
    if not isinstance(seconds, int | str) or not isinstance(nanos, int):
        return None
    try:
        milliseconds = int(seconds) * 1000 + nanos // 1_000_000
    except ValueError:
        return None
    return milliseconds if FIRST_MS <= milliseconds <= LAST_MS else None
