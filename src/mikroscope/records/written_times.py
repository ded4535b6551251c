"""Times as languages, databases and web servers write them where they do not write ISO 8601.

A form whose order of day and month is uncertain (02/03/2026) is not read, nor is one without a
year: a guess would be wrong without a sign of it. Names of months are English, as all of these
programs write them; names of weekdays are skipped.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache

from mikroscope.records.zones import in_zone

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        start=1,
    )
}
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?"
_MONTH = r"(?P<month>(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*)\.?"
_DAY = r"(?P<day>\d{1,2})"
_YEAR = r"(?P<year>\d{4})"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,:](?P<fraction>\d+))?)?"
    r"(?: ?(?P<half>[ap])\.?m\b\.?)?"
)
# An offset and a name may both be there: +0100 CET, GMT+0100 (Central European Standard Time).
_ZONE = (
    r"(?: ?\[?(?P<zone>(?:(?:utc|gmt|ut) ?)?[+-]\d\d?(?::?\d\d){0,2}|[a-z]+(?:/[a-z0-9_+-]+)*)\]?"
    r"(?: [a-z]{2,5})?)?"
)
_END = r"(?: ?\([^()]*\))?(?: m=[+-][\d.]+)?(?:\[[^\[\]]*\])*"  # comments, Go's clock, RFC 9557

_FORMS = (
    # ISO 8601 nearly: PostgreSQL, Go, Ruby, nginx (with slashes), ClickHouse (with points)
    (
        r"(?P<year>\d{4})(?P<dash>[-/.])(?P<month>\d{1,2})(?P=dash)(?P<day>\d{1,2})(?:T| ?[ _,] ?)"
        rf"{_CLOCK}{_ZONE}"
    ),
    # RFC 5322 and 9110, Apache and nginx (18/Feb/2026:10:20:00), Tomcat, PHP, Redis
    (
        rf"{_WEEKDAY}{_DAY}(?P<dash>[-/ ]){_MONTH}(?P=dash)(?P<year>\d{{4}}|\d\d)(?:,? +|[:T])"
        rf"{_CLOCK}{_ZONE}"
    ),
    # java.util.logging, Gson; JavaScript's Date.toString
    rf"{_WEEKDAY}{_MONTH} {_DAY},? {_YEAR},?(?: at)? {_CLOCK}{_ZONE}",
    # ctime of C, Perl, Python; date(1), Ruby, Java's Date, osquery
    (
        rf"{_WEEKDAY}(?:{_MONTH} {_DAY}|(?P<day2>\d{{1,2}}) (?P<month2>[a-z]{{3}})) {_CLOCK}"
        rf"(?: (?P<before>(?!\d{{4}})[a-z0-9:+/_-]+))? {_YEAR}{_ZONE}"
    ),
    # Central and eastern Europe's order, which points make certain
    rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.{_YEAR},? {_CLOCK}{_ZONE}",
    # Oracle
    (
        rf"{_DAY}-{_MONTH}-(?P<year>\d\d) (?P<hour>\d\d?)\.(?P<minute>\d\d)\.(?P<second>\d\d)"
        rf"(?:\.(?P<fraction>\d+))?(?: ?(?P<half>[ap])m)?{_ZONE}"
    ),
    # Boost
    rf"{_YEAR}(?P<dash>[- ]){_MONTH}(?P=dash){_DAY} {_CLOCK}{_ZONE}",
    # ISO 8601 by the number of the day in the year
    rf"{_YEAR}-?(?P<year_day>\d{{3}})[T ]{_CLOCK}{_ZONE}",
    # DB2
    (
        rf"{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)-"
        r"(?P<hour>\d\d)\.(?P<minute>\d\d)\.(?P<second>\d\d)(?:\.(?P<fraction>\d+))?"
    ),
)
_SPACES = re.compile(r"\s+")
# A digit string that begins with a year; one of another length is an epoch number.
_COMPACT = re.compile(
    r"(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?P<fraction>\d{3})?)?)?",
    re.ASCII,
)
_MAX_LENGTH = 100  # characters; no form is longer


def parse_written(text: str) -> datetime | None:
    """Return the moment that a text in one of the forms means; None for other texts.

    It has a zone if the text names one. A name that is not known makes it another text: its time
    would be off by hours.
    """
    if len(text) > _MAX_LENGTH:
        return None
    text = _SPACES.sub(" ", text).strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    for form in _compiled_forms():
        if (found := form.fullmatch(text)) is not None:
            return _moment(found.groupdict())
    return None


def parse_compact(digits: str) -> datetime | None:
    """Return the moment of 8, 12, 14 or 17 digits that begin with a year; None for other texts."""
    found = _COMPACT.fullmatch(digits)
    return None if found is None else _moment(found.groupdict())


@lru_cache(maxsize=1)
def _compiled_forms() -> list[re.Pattern[str]]:
    # On first use: most logs need none of them, and to compile them all takes milliseconds.
    return [re.compile(form + _END, re.ASCII | re.IGNORECASE) for form in _FORMS]


def _moment(parts: dict[str, str | None]) -> datetime | None:
    second = int(parts["second"] or 0)
    try:
        moment = datetime(
            *_date(parts),
            _hour(int(parts["hour"] or 0), (parts.get("half") or "").lower()),
            int(parts["minute"] or 0),
            min(second, 59) if second <= 60 else second,  # 60 is a leap second
            int((parts["fraction"] or "0")[:6].ljust(6, "0")),
        )
    except ValueError:
        return None
    zone = parts.get("zone") or parts.get("before")
    whole = moment if zone is None else in_zone(moment, zone)
    return whole + timedelta(seconds=1) if whole is not None and second == 60 else whole


def _date(parts: dict[str, str | None]) -> tuple[int, int, int]:
    """Return year, month and day; raise ValueError for a day that the year does not have."""
    year = _year(parts["year"] or "")
    if number := parts.get("year_day"):
        date = datetime(year, 1, 1) + timedelta(days=int(number) - 1)
        if date.year != year:
            raise ValueError("no day of this year")
        return year, date.month, date.day
    month = _month(parts["month"] or parts.get("month2") or "")
    return year, month, int(parts["day"] or parts.get("day2") or 0)


def _year(digits: str) -> int:
    """RFC 9110, 5.6.7 and POSIX: two digits from 69 on are of the last century."""
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= 69 else 2000)


def _month(text: str) -> int:
    return int(text) if text.isdigit() else _MONTHS.get(text[:3].lower(), 0)


def _hour(hour: int, half: str) -> int:
    if not half:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError("no hour of a clock with twelve")
    return hour % 12 + (12 if half == "p" else 0)
