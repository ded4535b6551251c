"""Converts the times that loggers write to epoch milliseconds, and back to ISO 8601 text.

Accepted are ISO 8601 and RFC 3339, the forms of `written_times`, objects with seconds or a date,
and epoch numbers, whose unit follows from their size; `docs/reference.md` lists them. A time
without a zone is in the default zone (`zones`).
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo

from mikroscope.records.written_times import parse_compact, parse_written
from mikroscope.records.zones import default_zone, in_zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

# Epoch numbers that it would accept as a date and time, because it allows any character between
# the two: 1712010112345.
_EPOCH_TEXT = re.compile(r"\d{9,}\.?\d*")
_ISO_START = re.compile(r"\d{4}-?(?:\d\d|W)", re.ASCII)
# JSON of older .NET: epoch milliseconds, and an offset that does not change them.
_DOTNET_DATE = re.compile(r"/Date\((-?\d{1,15})(?:[+-]\d{4})?\)/", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_YEAR_TWO_MS = -62_104_060_800_000  # 0002-01-01T00:00:00Z
# Zeros of other clocks: 1601 of Windows, 1753 and 1900 of SQL Server (1900 of NTP, too), 1899 of
# Delphi, and what Go's UnixNano makes of year 1.
_OTHER_ZEROS_MS = frozenset(
    (-11_644_473_600_000, -6_847_804_800_000, -2_208_988_800_000, -2_209_161_600_000)
) | {-6_795_364_578_872}
# RFC 5424 writes "-" for what is not known, pandas NaT.
_BLANK = frozenset(("", "-", "null", "none", "nil", "nat", "n/a"))
# MySQL's zero, that date as PHP has it, and year 1 as .NET prints it.
_ZERO_DATE = re.compile(r"0000-|-0001-11-30|0?1/0?1/0001\b", re.ASCII)

_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:", re.ASCII)
_MAX_MINUTES = 10_000


def parse_time(value: object, zone: tzinfo | None = None) -> int | None:
    """Return the epoch milliseconds of a string, a number or an object.

    None if the value is not a time. `zone` is that of a text that names none: None means the
    default zone.
    """
    if isinstance(value, str):
        found = canonical_ms(value)
        if found is None:
            found = parse_iso(value, zone)
        return found if found is not None else _parse_other_text(value, zone)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return parse_epoch(value)
    if isinstance(value, dict):
        return _parse_object(value)
    return None


def is_unset(value: object) -> bool:
    """Return True for a value that stands for no time: nothing, zero, or a zero of its language.

    Those are year 1 of Go and .NET, year 0 of MySQL, 1601 of Windows, and C's -1.
    """
    if value is None:
        return True
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _BLANK or _ZERO_DATE.match(text):
            return True
    found = parse_time(value)
    if found is None:
        return False
    if found in (0, -1000):
        return not isinstance(value, str) or _NUMBER.fullmatch(text) is not None
    return found < _YEAR_TWO_MS or found in _OTHER_ZEROS_MS


def possible_times(text: str) -> set[int]:
    """Return each time that a value with this text may mean, as a string and as a number.

    The two differ for a text such as 20260218, which is a date as a string.
    """
    return {found for found in (parse_time(text), _parse_number(text)) if found is not None}


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


def canonical_times(texts: Iterable[str]) -> list[int] | None:
    """Return what `canonical_ms` does of each text; None if that is None for one of them."""
    minutes, seconds, fractions = _MINUTES, _SECONDS, _FRACTIONS
    try:
        return [
            minutes[text[:17]] + seconds[text[17:20]] + fractions[text[20:]]  # type: ignore[operator]
            for text in texts
        ]
    except (KeyError, TypeError):
        return None


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


def parse_iso(text: str, zone: tzinfo | None = None) -> int | None:
    """Return the epoch milliseconds of an ISO 8601 text; None if it is not one.

    Fractions of a millisecond are truncated, not rounded.
    """
    if not _ISO_START.match(text) or (text[4:5] != "-" and _EPOCH_TEXT.fullmatch(text)):
        return None
    try:
        return _milliseconds(datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError):
        return None


def has_zone(text: str) -> bool:
    """Return True if a text is an ISO 8601 time with a zone."""
    if canonical_ms(text) is not None:
        return True
    if " " in text[11:] or parse_iso(text) is None:  # Python reads a space before the zone too
        return False
    return datetime.fromisoformat(text).tzinfo is not None


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
    return _within_range(milliseconds)


def format_time(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC with milliseconds and Z."""
    minute, rest = divmod(milliseconds, 60_000)
    return f"{_MINUTE_TEXTS[minute]}{rest // 1000:02}.{rest % 1000:03}Z"


def format_moment(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z; the datetime must have a zone."""
    return format_time((moment - EPOCH) // MILLISECOND)


def _milliseconds(moment: datetime, zone: tzinfo | None = None) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone or default_zone())
    return (moment - EPOCH) // MILLISECOND


def _parse_other_text(text: str, zone: tzinfo | None) -> int | None:
    """Read a text that is not ISO 8601: a compact date, a number, or a written form."""
    text = text.strip()
    if (compact := parse_compact(text)) is not None:
        return _milliseconds(compact, zone)
    if (number := _parse_number(text)) is not None:
        return number
    if (dotnet := _DOTNET_DATE.fullmatch(text)) is not None:
        return _within_range(int(dotnet[1]))
    try:
        moment = parse_written(text)
        return None if moment is None else _milliseconds(moment, zone)
    except OverflowError:
        return None


def _parse_number(text: str) -> int | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return parse_epoch(int(text) if text.removeprefix("-").isdecimal() else float(text))
    except (ValueError, OverflowError):
        return None


def _parse_object(parts: dict[str, object]) -> int | None:
    """Read an object: seconds and nanoseconds, MongoDB's `$date`, or PHP's DateTime."""
    for seconds, nanos in _SECONDS_AND_NANOS:
        if seconds in parts:
            return _parse_seconds(parts[seconds], parts.get(nanos, 0))
    inner = parts.get("$date", parts.get("$numberLong"))
    if inner is not None:
        return parse_time(inner)
    date, zone = parts.get("date"), parts.get("timezone")
    if isinstance(date, str) and isinstance(zone, str):
        try:
            moment = in_zone(datetime.fromisoformat(date), zone)
            return None if moment is None else _milliseconds(moment)
        except (ValueError, OverflowError):
            return None
    return None


_SECONDS_AND_NANOS = (
    ("seconds", "nanos"),  # Protocol Buffers, Google Cloud
    ("epochSecond", "nanoOfSecond"),  # Log4j
    ("_seconds", "_nanoseconds"),  # Firestore
)


def _parse_seconds(seconds: object, nanos: object) -> int | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | str) or type(nanos) is not int:
        return None
    try:
        return _within_range(int(seconds) * 1000 + nanos // 1_000_000)
    except ValueError:
        return None


def _within_range(milliseconds: int) -> int | None:
    return milliseconds if FIRST_MS <= milliseconds <= LAST_MS else None
