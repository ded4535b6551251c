"""Every way in which loggers write a time is read as the same instant, to the millisecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.timestamps import (
    FIRST_MS,
    LAST_MS,
    format_time,
    is_unset,
    parse_epoch,
    parse_iso,
    parse_time,
    possible_times,
)
from mikroscope.records.zones import set_default_zone

MOMENT = 1_771_410_000_000  # 2026-02-18T10:20:00Z


@pytest.mark.parametrize(
    ("text", "after_ms"),
    [
        ("2026-02-18T10:20:00Z", 0),
        ("2026-02-18T10:20:00.000Z", 0),
        ("2026-02-18T10:20:00.1Z", 100),
        ("2026-02-18T10:20:00.12Z", 120),
        ("2026-02-18T10:20:00.123Z", 123),
        ("2026-02-18T10:20:00.123456Z", 123),
        ("2026-02-18T10:20:00.123456789Z", 123),
        ("2026-02-18T10:20:00.999999999Z", 999),
        ("2026-02-18T10:20:00,123Z", 123),
        ("2026-02-18T10:20:00,123456789Z", 123),
        ("2026-02-18T10:20:00.1234567890123Z", 123),
        ("2026-02-18T10:20:00+00:00", 0),
        ("2026-02-18T10:20:00-00:00", 0),
        ("2026-02-18T12:20:00+02:00", 0),
        ("2026-02-18T12:20:00+0200", 0),
        ("2026-02-18T12:20:00+02", 0),
        ("2026-02-18T15:50:00.5+05:30", 500),
        ("2026-02-17T22:20:00-12:00", 0),
        ("2026-02-19T00:20:00+14:00", 0),
        ("2026-02-18T10:20:00", 0),
        ("2026-02-18T10:20:00.5", 500),
        ("2026-02-18 10:20:00", 0),
        ("2026-02-18 10:20:00Z", 0),
        ("2026-02-18 10:20:00,5", 500),
        ("2026-02-18 10:20:00 +0000", 0),
        ("2026-02-18 12:20:00 +02:00", 0),
        ("2026-02-18 05:20:00.25 -0500", 250),
        ("2026-02-18 10:20:00 UTC", 0),
        ("2026-02-18 10:20:00.5 GMT", 500),
        ("2026-02-18T10:20:00UTC", 0),
        ("2026-02-18t10:20:00z", 0),
        ("2026-02-18t10:20:00.123456789z", 123),
        ("2026-02-18t12:20:00+02:00", 0),
        (" 2026-02-18T10:20:00Z ", 0),
        ("2026-02-18T10:20Z", 0),
        ("2026-02-18T10:20", 0),
        ("2026-02-18T10:20+00:00", 0),
        ("20260218T102000Z", 0),
        ("20260218T102000.5Z", 500),
        ("20260218T122000+0200", 0),
        ("2026-W08-3T10:20:00Z", 0),
    ],
)
def test_iso(text: str, after_ms: int) -> None:
    """ISO 8601 and RFC 3339 are read in all common forms; a time without a zone is UTC."""
    assert parse_time(text) == MOMENT + after_ms


@pytest.mark.parametrize("text", ["2026-02-18", "20260218", "2026-W08-3", "2026-02-18T00:00Z"])
def test_dates(text: str) -> None:
    """A date alone means midnight in UTC."""
    assert parse_time(text) == MOMENT - (10 * 60 + 20) * 60_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T23:59:60.500Z", 1_483_228_800_500),
        ("2016-12-31 23:59:60", 1_483_228_800_000),
        ("2017-01-01T00:59:60+01:00", 1_483_228_800_000),
        ("2016-12-31t23:59:60z", 1_483_228_800_000),
    ],
)
def test_leap_seconds(text: str, milliseconds: int) -> None:
    """A leap second is the first second of the next minute."""
    assert parse_time(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("0001-01-01T00:00:00Z", FIRST_MS),
        ("9999-12-31T23:59:59.999Z", LAST_MS),
        ("9999-12-31T23:59:59.999999999Z", LAST_MS),
    ],
)
def test_far_away(text: str, milliseconds: int) -> None:
    """Times before 1970 and at the ends of the range are truncated to the millisecond."""
    assert parse_time(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "never", "now", "Z", "T", "-", "2026", "2026-02", "10:20:00", "NaN", "Infinity"),
        *("2026-13-01", "2026-02-30", "2026-02-18T25:00:00Z", "2026-02-18T10:60:00Z"),
        *(
            "2026-02-18T10:20:61Z",
            "2026-02-18T10:20:00X",
            "2026-02-18T10:20:00+99:00",
            "0000-01-01",
        ),
        *("Feb 18 10:20:00", "0218 10:20:00.123456", "260218 10:20:00"),  # no year, or which one
        *("02/03/2026 10:20:00", "2/18/2026 10:20:00 AM", "18/02/2026 10:20:00"),  # which order
        *("2026-02-18 10:20:00 IST", "2026-02-18 10:20:00 XYZ", "2026-02-18 10:20:00 Mars/Base"),
        *("2026-02-18 13:20:00 PM", "31 Feb 2026 10:20:00", "18 Foo 2026 10:20:00"),
        *("/Date(x)/", "2026/02-18 10:20:00"),
        *("1" * 30, "1" * 5000, "9" * 21, "1e400", "-1e30", "0x10", "\x00", "😀"),
    ],
)
def test_what_is_no_time(text: str) -> None:
    """A value that is not a time gives None without an error; a short number is a time."""
    expected = {"2026": 2_026_000}
    assert parse_time(text) == expected.get(text)


@pytest.mark.parametrize("value", [None, True, False, [], [1], {}, {"second": 1}, b"2026-02-18"])
def test_other_types(value: object) -> None:
    """Booleans, null, arrays and other objects are not times."""
    assert parse_time(value) is None


@pytest.mark.parametrize(
    ("number", "milliseconds"),
    [
        (0, 0),
        (1_771_410_000, MOMENT),
        (1_771_410_000.123, MOMENT + 123),
        (1_771_410_000.0, MOMENT),
        (1_771_410_000.9999, MOMENT + 999),
        (MOMENT, MOMENT),
        (MOMENT + 0.5, MOMENT),
        (MOMENT * 1000 + 999, MOMENT),
        (MOMENT * 1_000_000 + 999_999, MOMENT),
        (float(MOMENT) * 1e6, MOMENT),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (99_999_999_999_999, 99_999_999_999_999),
        (100_000_000_000_000, 100_000_000_000),
        (99_999_999_999_999_999, 99_999_999_999_999),
        (100_000_000_000_000_000, 100_000_000_000),
        (-1, -1000),
        (-0.001, -1),
        (-99_999_999_999, None),
        (-100_000_000_000, -100_000_000_000),
        (FIRST_MS // 1000, FIRST_MS),
        (FIRST_MS // 1000 - 1, None),
        (253_402_300_799 * 10**9, None),
        (10**20, None),
        (10**400, None),
        (1e300, None),
        (float("nan"), None),
        (float("inf"), None),
        (float("-inf"), None),
    ],
)
def test_numbers(number: float, milliseconds: int | None) -> None:
    """Numbers are s below 1e11, ms below 1e14, µs below 1e17, else ns; truncated to ms."""
    assert parse_time(number) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1771410000", MOMENT),
        ("1771410000.123456", MOMENT + 123),
        ("1771410000123", MOMENT + 123),
        ("1771410000123456", MOMENT + 123),
        ("1771410000123456789", MOMENT + 123),
        ("1771410000123.5", MOMENT + 123),
        ("1.77141e9", MOMENT),
        ("-1", -1000),
        ("0", 0),
        # As a date and an hour these would be in the 18th century.
        ("1712010112345", 1_712_010_112_345),
        ("17120101123", 17_120_101_123_000),
        ("171201011123456", 171_201_011_123),
        ("171201011123456.5", 171_201_011_123),
        ("17120101112345.6", 17_120_101_112_345),
        ("-10000000000000001", -10_000_000_000_001),
    ],
)
def test_digits(text: str, milliseconds: int) -> None:
    """A number in quotes means the same as without them."""
    assert parse_time(text) == milliseconds


@given(st.integers(-(10**20), 10**20).filter(lambda number: len(str(number)) != 8))
def test_digits_are_numbers(number: int) -> None:
    """The digits of a number mean the same as the number, but eight digits may be a date."""
    assert parse_time(str(number)) == parse_time(number)


@given(st.integers(0, 10**11).map(lambda ms: ms / 1000))
def test_fractions_of_seconds(seconds: float) -> None:
    """Seconds with three decimals are exact, although a float is not."""
    assert parse_epoch(seconds) == round(seconds * 1000)


@pytest.mark.parametrize(
    ("parts", "milliseconds"),
    [
        ({"seconds": 1_771_410_000, "nanos": 123_999_999}, MOMENT + 123),
        ({"seconds": 1_771_410_000}, MOMENT),
        ({"seconds": "1771410000", "nanos": 0}, MOMENT),
        ({"seconds": -1, "nanos": 1_000_000}, -999),
        ({"seconds": 253_402_300_799, "nanos": 999_999_999}, LAST_MS),
        ({"seconds": 253_402_300_800}, None),
        ({"seconds": 10**400}, None),
        ({"seconds": "1" * 5000}, None),
        ({"seconds": "soon"}, None),
        ({"seconds": 1, "nanos": "1"}, None),
        ({"seconds": 1, "nanos": None}, None),
        ({"seconds": None}, None),
        ({"seconds": []}, None),
        ({"nanos": 5}, None),
    ],
)
def test_parts(parts: dict[str, object], milliseconds: int | None) -> None:
    """`{seconds, nanos}`, as protobuf writes it, is a time."""
    assert parse_time(parts) == milliseconds


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("20260218", {1_771_372_800_000, 20_260_218_000}),
        ("1712010112345", {1_712_010_112_345}),
        ("2026-02-18T10:20:00Z", {MOMENT}),
        ("never", set()),
    ],
)
def test_possible_times(text: str, times: set[int]) -> None:
    """Eight digits are a date as a string and seconds as a number; all else has one reading."""
    assert possible_times(text) == times


@pytest.mark.parametrize("text", ["1712010112345", "1771410000", "171201011123456.5"])
def test_numbers_are_no_iso(text: str) -> None:
    """The digits of an epoch are not ISO 8601, so a time is not shown in that form."""
    assert parse_iso(text) is None


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (MOMENT + 7, "2026-02-18T10:20:00.007Z"),
        (FIRST_MS, "0001-01-01T00:00:00.000Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_format(milliseconds: int, text: str) -> None:
    """Times are written in UTC, always with milliseconds."""
    assert format_time(milliseconds) == text


@given(st.integers(FIRST_MS, LAST_MS))
def test_round_trip(milliseconds: int) -> None:
    """A formatted time is read as the same instant."""
    assert parse_time(format_time(milliseconds)) == milliseconds


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", "t", " "]),
    st.sampled_from([".", ","]),
)
def test_instants(moment: datetime, offset: int, letter: str, point: str) -> None:
    """An instant is the same in every zone and spelling."""
    utc = moment.replace(tzinfo=UTC)
    local = utc.astimezone(timezone(timedelta(minutes=offset)))
    text = local.isoformat(letter, timespec="microseconds").replace(".", point)
    assert parse_time(text) == parse_time(format_time((utc - EPOCH) // MILLISECOND))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@given(st.text())
def test_any_text(text: str) -> None:
    """No text makes reading fail."""
    assert isinstance(parse_time(text), int | None)


@given(st.one_of(st.integers(), st.floats()))
def test_any_number(number: float) -> None:
    """No number makes reading fail, and every time that was read can be written."""
    found = parse_time(number)
    assert found is None or parse_time(format_time(found)) == found


@pytest.mark.parametrize(
    ("text", "after_ms"),
    [
        # PostgreSQL: log_line_prefix %m, and jsonlog, in zones of all kinds
        ("2026-02-18 07:20:00.123 -03", 123),
        ("2026-02-18 11:20:00.123 CET", 123),
        ("2026-02-18 05:20:00 EST", 0),
        ("2026-02-18 15:50:00.5 +0530", 500),
        ("2026-02-18 05:20:00.123 America/New_York", 123),
        # Go: time.String, and log with and without microseconds
        ("2026-02-18 11:20:00.123456789 +0100 CET m=+0.000012", 123),
        ("2026-02-18 10:20:00 +0000 UTC", 0),
        ("2026/02/18 10:20:00", 0),
        ("2026/02/18 10:20:00.123456", 123),
        # Java: ZonedDateTime, Date, java.util.logging, Gson; RFC 9557
        ("2026-02-18T11:20:00.123+01:00[Europe/Berlin]", 123),
        ("2026-02-18T10:20:00Z[UTC][u-ca=iso8601]", 0),
        ("Wed Feb 18 11:20:00 CET 2026", 0),
        ("Feb 18, 2026 10:20:00 AM", 0),
        ("Feb 18, 2026, 10:20:00\u202fAM", 0),
        # ECMAScript: Date.toString, toUTCString
        ("Wed Feb 18 2026 11:20:00 GMT+0100 (Central European Standard Time)", 0),
        ("Wed, 18 Feb 2026 10:20:00 GMT", 0),
        # C's ctime, date(1) in two locales, Ruby, osquery
        ("Wed Feb 18 10:20:00 2026", 0),
        ("Wed Feb 18 10:20:00.123456 2026", 123),
        ("Wed Feb 18 10:20:00 UTC 2026", 0),
        ("Wed 18 Feb 10:20:00 UTC 2026", 0),
        ("Wed Feb 18 12:20:00 +0200 2026", 0),
        ("Wed Feb 18 10:20:00 2026 UTC", 0),
        # Apache and nginx, RFC 5322 and 850, Tomcat, PHP, Redis
        ("18/Feb/2026:11:20:00 +0100", 0),
        ("[18/Feb/2026:10:20:00 +0000]", 0),
        ("Wed, 18 Feb 2026 12:20:00 +0200", 0),
        ("Wednesday, 18-Feb-26 10:20:00 GMT", 0),
        ("18-Feb-2026 10:20:00.123", 123),
        ("18-Feb-2026 11:20:00 Europe/Berlin", 0),
        ("18 Feb 2026 10:20:00.123", 123),
        # ClickHouse, DB2, Mattermost, log4j's compact forms, Serilog in a German locale
        ("2026.02.18 10:20:00.123456", 123),
        ("2026-02-18-10.20.00.123456", 123),
        ("2026-02-18 10:20:00.123 Z", 123),
        ("20260218102000", 0),
        ("20260218102000123", 123),
        ("202602181020", 0),
        ("18.02.2026 10:20:00", 0),
        # .NET's old JSON, numbers as text
        ("/Date(1771410000000)/", 0),
        ("/Date(1771410000000+0100)/", 0),
        ("1771410000.123456789", 123),
        ("1.7714100001E9", 100),
        ("2026-02-18T10:20:00.123 PST", 123 + 8 * 3_600_000),
    ],
)
def test_what_languages_databases_and_servers_write(text: str, after_ms: int) -> None:
    """Their default forms are read, with their zones; one without a zone is UTC."""
    assert parse_time(text) == MOMENT + after_ms


@pytest.mark.parametrize(
    "value",
    [
        {"seconds": 1_771_410_000, "nanos": 5},
        {"seconds": "1771410000"},
        {"epochSecond": 1_771_410_000, "nanoOfSecond": 999_999},
        {"_seconds": 1_771_410_000, "_nanoseconds": 1},
        {"$date": "2026-02-18T11:20:00.000+01:00"},
        {"$date": {"$numberLong": "1771410000000"}},
        {"date": "2026-02-18 11:20:00.000000", "timezone_type": 3, "timezone": "Europe/Berlin"},
        {"date": "2026-02-18 11:20:00.000000", "timezone_type": 1, "timezone": "+01:00"},
    ],
)
def test_times_that_are_objects(value: object) -> None:
    """Protocol Buffers, Log4j, Firestore, MongoDB and PHP write objects."""
    assert parse_time(value) == MOMENT


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "-", 0, 0.0, "0", -62_135_596_800, -62_135_596_800_000, {"seconds": 0}),
        *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T00:00:00+02:00"),
        *("0001-01-01 00:00:00 +0000 UTC", "0000-00-00 00:00:00", "0000-00-00T00:00:00Z"),
        *("1601-01-01T00:00:00Z", "/Date(-62135596800000)/", -6_795_364_578_871_345_152),
    ],
)
def test_values_that_stand_for_no_time(value: object) -> None:
    """Zeros, and what languages have in a time that was never set, are unknown times."""
    assert is_unset(value)


@pytest.mark.parametrize(
    "value", ["1970-01-01T00:00:00Z", 1, "1", "never", MOMENT, "0002-01-01T00:00:00Z", False, []]
)
def test_values_that_stand_for_something(value: object) -> None:
    """A time, however early, is a time, and what cannot be read is not unset."""
    assert not is_unset(value) or value is False


@pytest.mark.parametrize("text", [" " * 5_000, "Wed " * 40, "2026-02-18 10:20:00 " + "a" * 10_000])
def test_long_texts_cost_nothing(text: str) -> None:
    """No text makes the search for a form long."""
    assert parse_time(text) is None


def test_a_time_without_a_zone_is_in_the_default_zone() -> None:
    """The default zone applies to all forms, and settles what an abbreviation means."""
    try:
        set_default_zone("Asia/Shanghai")
        moment = MOMENT - 8 * 3_600_000
        assert parse_time("2026-02-18T10:20:00") == moment
        assert parse_time("2026/02/18 10:20:00") == moment
        assert parse_time("20260218102000") == moment
        assert parse_time("Wed Feb 18 10:20:00 CST 2026") == moment
        assert parse_time("2026-02-18T10:20:00Z") == MOMENT
        set_default_zone("+05:30")
        assert parse_time("2026-02-18T15:50:00") == MOMENT
        with pytest.raises(ValueError, match="Nowhere"):
            set_default_zone("Nowhere")
    finally:
        set_default_zone("UTC")
    assert parse_time("Wed Feb 18 10:20:00 CST 2026") == MOMENT + 6 * 3_600_000
