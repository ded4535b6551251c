"""The mock data: its options, its files, and logs that resemble those of a real shop."""

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mikroscope.demo.mock_data import (
    MockDataOptions,
    MockDataSummary,
    mock_data_options,
    write_mock_data,
)
from mikroscope.errors import ConfigurationError, MikroScopeError

END = date(2026, 3, 9)
INCIDENT = date(2026, 3, 2)


def small(out_dir: Path, **changes: Any) -> MockDataOptions:
    fields: dict[str, Any] = {"days": 2, "logs_per_day": 60, "audit_logs_per_day": 10, "end": END}
    return MockDataOptions(out_dir=out_dir, **(fields | changes))


def contents(out_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out_dir)): path.read_bytes()
        for path in sorted(out_dir.rglob("*"))
        if path.is_file()
    }


def records(path: Path) -> list[dict[str, Any]]:
    return msgspec.json.Decoder(dict[str, Any]).decode_lines(path.read_bytes())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MockDataSummary]:
    """The default data set and its summary, written once for all tests that only read it."""
    out_dir = tmp_path_factory.mktemp("shop")
    return out_dir, write_mock_data(MockDataOptions(out_dir=out_dir, end=END))


@pytest.fixture(scope="module")
def app_days(shop: tuple[Path, MockDataSummary]) -> dict[str, list[dict[str, Any]]]:
    paths = sorted((shop[0] / "generated").iterdir())
    return {path.stem.removeprefix("app-"): records(path) for path in paths}


@pytest.fixture(scope="module")
def app(app_days: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [record for day in app_days.values() for record in day]


@pytest.fixture(scope="module")
def audit(shop: tuple[Path, MockDataSummary]) -> list[dict[str, Any]]:
    paths = sorted((shop[0] / "audit" / "generated").iterdir())
    return [record for path in paths for record in records(path)]


def requests(app: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for record in app:
        if "correlationId" in record:
            grouped.setdefault(record["correlationId"], []).append(record)
    return list(grouped.values())


def test_without_environment_or_overrides_the_defaults_hold() -> None:
    """Without variables and overrides, the documented defaults apply."""
    assert mock_data_options({}, {}) == MockDataOptions(
        days=21,
        logs_per_day=1200,
        audit_logs_per_day=150,
        tenants=320,
        seed=2602,
        out_dir=Path("./logs"),
        end=None,
    )


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("MOCK_LOG_DAYS", "days"),
        ("MOCK_LOGS_PER_DAY", "logs_per_day"),
        ("MOCK_AUDIT_LOGS_PER_DAY", "audit_logs_per_day"),
        ("MOCK_LOG_TENANTS", "tenants"),
        ("MOCK_LOG_SEED", "seed"),
    ],
)
def test_each_variable_sets_its_number(variable: str, field: str) -> None:
    """Every number has an environment variable."""
    assert getattr(mock_data_options({variable: "7"}, {}), field) == 7


def test_out_dir_has_a_variable() -> None:
    """MOCK_LOG_OUT_DIR sets where the files go."""
    assert mock_data_options({"MOCK_LOG_OUT_DIR": "made/up"}, {}).out_dir == Path("made/up")


@pytest.mark.parametrize("value", [3, "3"])
def test_override_wins(value: int | str) -> None:
    """An override, number or text, beats the variable."""
    assert mock_data_options({"MOCK_LOG_DAYS": "9"}, {"days": value}).days == 3


def test_none_override_is_not_given() -> None:
    """An override of None keeps the variable's value."""
    assert mock_data_options({"MOCK_LOG_DAYS": "9"}, {"days": None}).days == 9


def test_empty_variable_is_not_given() -> None:
    """An empty variable counts as unset."""
    assert mock_data_options({"MOCK_LOG_DAYS": ""}, {}).days == 21


def test_zero_audit_logs_are_allowed() -> None:
    """A kind of log can be switched off with 0, even though 0 is falsy."""
    assert mock_data_options({}, {"audit_logs_per_day": 0}).audit_logs_per_day == 0


@pytest.mark.parametrize("value", ["", " ", "x", "-1", "0", "1.5", "1e3", "1_0", "٣", "3651"])
def test_bad_number_is_refused(value: str) -> None:
    """A value that is not a number in its range is a configuration error."""
    with pytest.raises(ConfigurationError):
        mock_data_options({}, {"days": value})


def test_endless_number_is_refused() -> None:
    """A number with more digits than int() accepts is a configuration error."""
    with pytest.raises(ConfigurationError, match="whole number"):
        mock_data_options({"MOCK_LOG_SEED": "9" * 5000}, {})


def test_bad_variable_is_named() -> None:
    """The error names the variable, its value and what was expected."""
    expected = "MOCK_LOG_TENANTS is 'many': expected a whole number from 1 to 1000000"
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        mock_data_options({"MOCK_LOG_TENANTS": "many"}, {})


def test_bad_flag_is_named() -> None:
    """The error names the flag if the flag gave the value."""
    expected = "--logs-per-day is '-5': expected a whole number from 0 to 1000000"
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        mock_data_options({"MOCK_LOGS_PER_DAY": "10"}, {"logs_per_day": -5})


def test_blank_out_dir_is_refused() -> None:
    """A directory name of only spaces is a configuration error that names the flag."""
    with pytest.raises(ConfigurationError, match="--out-dir is ' ': expected a directory"):
        mock_data_options({}, {"out_dir": " "})


def test_out_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file cannot be the directory to write to."""
    (tmp_path / "taken").touch()
    with pytest.raises(ConfigurationError, match="--out-dir"):
        mock_data_options({}, {"out_dir": tmp_path / "taken"})


def test_one_file_a_day_and_kind(tmp_path: Path) -> None:
    """Every UTC day up to the last one has a log file and an audit file."""
    write_mock_data(small(tmp_path))
    assert sorted(contents(tmp_path)) == [
        "audit/generated/audit-2026-03-08.ndjson",
        "audit/generated/audit-2026-03-09.ndjson",
        "generated/app-2026-03-08.ndjson",
        "generated/app-2026-03-09.ndjson",
    ]


def test_days_end_yesterday(tmp_path: Path) -> None:
    """Without an end date the last day is yesterday in UTC, so that no log is in the future."""
    before = datetime.now(UTC).date() - timedelta(days=1)
    write_mock_data(small(tmp_path, days=1, end=None))
    after = datetime.now(UTC).date() - timedelta(days=1)
    (name,) = (path.name for path in (tmp_path / "generated").iterdir())
    assert name in {f"app-{before}.ndjson", f"app-{after}.ndjson"}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same options write the same bytes."""
    write_mock_data(small(tmp_path / "one"))
    write_mock_data(small(tmp_path / "two"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_other_seed_other_bytes(tmp_path: Path) -> None:
    """Another seed writes other records to every file."""
    write_mock_data(small(tmp_path / "one"))
    write_mock_data(small(tmp_path / "two", seed=1))
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in one)


def test_rerun_replaces_the_files(tmp_path: Path) -> None:
    """A second run into the same directory leaves the same files as one run."""
    write_mock_data(small(tmp_path / "once"))
    write_mock_data(small(tmp_path / "twice", logs_per_day=90))
    write_mock_data(small(tmp_path / "twice"))
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Other files in the directory are left unchanged."""
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "mine.ndjson").write_text("{}\n")
    write_mock_data(small(tmp_path))
    assert (tmp_path / "generated" / "mine.ndjson").read_text() == "{}\n"


def test_failed_write_leaves_no_trace(tmp_path: Path) -> None:
    """If the finished file cannot be renamed, no temporary file is left."""
    (tmp_path / "generated" / "app-2026-03-08.ndjson").mkdir(parents=True)
    with pytest.raises(MikroScopeError):
        write_mock_data(small(tmp_path))
    assert [path.name for path in (tmp_path / "generated").iterdir()] == ["app-2026-03-08.ndjson"]


def test_unwritable_directory_is_one_clear_error(tmp_path: Path) -> None:
    """A directory that cannot be created is a MikroScopeError that names the path."""
    (tmp_path / "generated").touch()
    with pytest.raises(MikroScopeError, match=r"cannot write .*app-2026-03-08\.ndjson: "):
        write_mock_data(small(tmp_path))


def test_zero_switches_a_kind_off(tmp_path: Path) -> None:
    """With no audit logs a day there are no audit files."""
    summary = write_mock_data(small(tmp_path, audit_logs_per_day=0))
    assert (summary.files, summary.audit_records) == (2, 0)
    assert not (tmp_path / "audit").exists()


def test_default_summary(shop: tuple[Path, MockDataSummary]) -> None:
    """The defaults write 28,350 records, 3,150 of them audit records, to 42 files."""
    assert (shop[1].files, shop[1].records, shop[1].audit_records) == (42, 28_350, 3_150)


def test_summary_counts_bytes(shop: tuple[Path, MockDataSummary]) -> None:
    """The summary's bytes are those on the disk."""
    assert shop[1].bytes == sum(map(len, contents(shop[0]).values()))


def test_every_line_counts(shop: tuple[Path, MockDataSummary]) -> None:
    """Every line of every file is one record, and every file ends with a newline."""
    files = contents(shop[0])
    assert sum(data.count(b"\n") for data in files.values()) == shop[1].records
    assert all(data.endswith(b"}\n") for data in files.values())


def test_timestamps_ascend_within_their_day(shop: tuple[Path, MockDataSummary]) -> None:
    """In each file the times are within its UTC day, have milliseconds, and never decrease."""
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    for path in shop[0].rglob("*.ndjson"):
        times = [record["timestamp"] for record in records(path)]
        assert all(form.fullmatch(time) and time[:10] in path.name for time in times)
        assert all(earlier <= later for earlier, later in pairwise(times))


def test_crowded_midnight_stays_within_its_day(tmp_path: Path) -> None:
    """Even on a crowded day, no record is later than the end of its day."""
    write_mock_data(small(tmp_path, days=1, logs_per_day=20_000))
    times = {r["timestamp"][:10] for r in records(tmp_path / "generated" / f"app-{END}.ndjson")}
    assert times == {"2026-03-09"}


def test_a_few_tenants_are_enough(tmp_path: Path) -> None:
    """The records have at most as many tenants as requested."""
    write_mock_data(small(tmp_path, tenants=1))
    files = tmp_path.rglob("*.ndjson")
    tenants = {record.get("tenantId") for path in files for record in records(path)}
    assert tenants == {"tenant-001", None}


def test_levels_have_believable_shares(app: list[dict[str, Any]]) -> None:
    """Most records are INFO, then DEBUG, WARN, and few are ERROR."""
    levels = Counter(record["level"] for record in app)
    assert [level for level, _ in levels.most_common()] == ["INFO", "DEBUG", "WARN", "ERROR"]
    assert 0.005 < levels["ERROR"] / len(app) < 0.03


def test_every_record_names_its_basics(app: list[dict[str, Any]]) -> None:
    """Every record has a time, a level, an event, a message and a service, all texts."""
    names = ("timestamp", "level", "event", "message", "service")
    assert all(isinstance(record[name], str) and record[name] for record in app for name in names)


def test_messages_are_filled_in(app: list[dict[str, Any]]) -> None:
    """No message has an unfilled placeholder."""
    assert not any(re.search(r"[{}]|None", record["message"]) for record in app)


def test_the_shop_has_many_services(app: list[dict[str, Any]]) -> None:
    """The records come from the services of a shop."""
    services = {record["service"] for record in app}
    assert services >= {"checkout", "billing", "catalog", "auth", "search", "notifications"}


def test_requests_leave_several_lines(app: list[dict[str, Any]]) -> None:
    """Nearly all requests log three lines or more."""
    lengths = [len(lines) for lines in requests(app)]
    assert sum(length >= 3 for length in lengths) > 0.95 * len(lengths)


def test_lines_of_a_request_share_its_ids(app: list[dict[str, Any]]) -> None:
    """All lines of a correlation share one request, tenant, user, order and route."""
    names = ("requestId", "tenantId", "userId", "orderId", "route")
    for lines in requests(app):
        assert len({tuple(line.get(name) for name in names) for line in lines}) == 1


def test_requests_cross_services(app: list[dict[str, Any]]) -> None:
    """A successful checkout logs lines from five services."""
    lines = next(r for r in requests(app) if r[-1].get("statusCode") == 201)
    services = [line["service"] for line in lines]
    assert {"gateway", "checkout", "billing", "inventory", "notifications"} == set(services)


def test_orders_look_like_orders(app: list[dict[str, Any]]) -> None:
    """An order id is ORD followed by six digits."""
    orders = {record["orderId"] for record in app if "orderId" in record}
    assert len(orders) > 100
    assert all(re.fullmatch(r"ORD-\d{6}", order) for order in orders)


def test_answers_tell_status_and_duration(app: list[dict[str, Any]]) -> None:
    """The last line of a request has a status code and the milliseconds since its start."""
    answers = [record for record in app if record["event"] == "request.completed"]
    assert {200, 201, 202, 400, 401, 402, 404, 409, 500, 502, 503} == {
        answer["statusCode"] for answer in answers
    }
    assert all(answer["durationMs"] > 0 for answer in answers)


def test_errors_nest_their_error(app: list[dict[str, Any]]) -> None:
    """Every ERROR record, and no other, has an error with a type, a message and a stack."""
    for record in app:
        assert ("error" in record) == (record["level"] == "ERROR")
    errors = [record["error"] for record in app if "error" in record]
    assert all(set(error) == {"type", "message", "stack"} for error in errors)
    assert all(error["stack"].count("\n    at ") == 2 for error in errors)


def test_evenings_are_busier_than_nights(app: list[dict[str, Any]]) -> None:
    """There are more records in the evening than at night."""
    hours = Counter(int(record["timestamp"][11:13]) for record in app)
    assert sum(hours[hour] for hour in (18, 19, 20)) > 5 * sum(hours[hour] for hour in (2, 3, 4))


def test_one_day_has_an_incident(app_days: dict[str, list[dict[str, Any]]]) -> None:
    """A week before the end, billing fails many times more often than on any other day."""
    failures = Counter(
        {
            day: sum(r["level"] == "ERROR" and r["service"] == "billing" for r in lines)
            for day, lines in app_days.items()
        }
    )
    (worst, most), (_, second) = failures.most_common(2)
    assert worst == str(INCIDENT)
    assert most > 5 * second


def test_the_incident_is_a_burst(app_days: dict[str, list[dict[str, Any]]]) -> None:
    """Nearly all of that day's billing errors fall within an hour in the afternoon."""
    failures = [
        record["timestamp"]
        for record in app_days[str(INCIDENT)]
        if record["level"] == "ERROR" and record["service"] == "billing"
    ]
    burst = [t for t in failures if f"{INCIDENT}T14:05" <= t <= f"{INCIDENT}T14:51"]
    assert len(burst) > 0.9 * len(failures)


def test_audit_records_tell_who_did_what(audit: list[dict[str, Any]]) -> None:
    """Every audit record is marked as audit and has an actor, an action and a target."""
    names = ("actor", "action", "target", "message", "correlationId", "tenantId")
    assert all(record["audit"] is True for record in audit)
    assert all(isinstance(record[name], str) for record in audit for name in names)


def test_some_audited_actions_are_denied(audit: list[dict[str, Any]]) -> None:
    """The outcome is success or denied; few are denied, and those are warnings."""
    outcomes = Counter((record["outcome"], record["level"]) for record in audit)
    assert set(outcomes) == {("success", "INFO"), ("denied", "WARN")}
    assert outcomes["denied", "WARN"] < 0.2 * len(audit)


def test_app_records_are_no_audit_records(app: list[dict[str, Any]]) -> None:
    """No record outside the audit files is marked as audit."""
    assert not any("audit" in record for record in app)
