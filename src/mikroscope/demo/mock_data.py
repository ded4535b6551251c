"""Writes generated logs of a small online shop: the same bytes for the same seed and last day."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec

from mikroscope.demo.shop import (
    ANSWERED,
    AUDITS,
    BACKGROUND,
    CHECKOUT,
    FLOW_WEIGHTS,
    RECEIVED,
    REFUND,
    SLOW,
    Flow,
    Step,
)
from mikroscope.errors import ConfigurationError, MikroScopeError

Record = dict[str, Any]


Choice = TypeVar("Choice")


HOUR_MS = 3_600_000


# Load by UTC hour: a quiet night, a lunch peak and a longer evening peak.
HOUR_WEIGHTS = (3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 11, 13, 15, 13, 11, 10, 10, 12, 15, 17, 16, 12, 8, 5)


BACKGROUND_SHARE = 0.12


OUTCOME_WEIGHTS = {"ok": 77, "slow": 9, "refused": 7, "failed": 7}


SLOW_STEP_MS = 700


# On one day a quarter of all activity is failing checkouts, within these 45 minutes.
INCIDENT_SHARE = 0.25


INCIDENT_START_MS = 14 * HOUR_MS + 300_000


INCIDENT_SPAN_MS = 2_700_000


@dataclass(frozen=True)
class MockDataOptions:
    """Days to write up to `end` (None: yesterday, UTC), records per day, and where to put them."""

    days: int = 21
    logs_per_day: int = 1200
    audit_logs_per_day: int = 150
    tenants: int = 320
    seed: int = 2602
    out_dir: Path = Path("./logs")
    end: date | None = None


@dataclass(frozen=True)
class MockDataSummary:
    """The totals of what was written; `records` includes the audit records."""

    files: int
    records: int
    audit_records: int
    bytes: int


def _number(least: int, most: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        # The number of digits is limited, because int() raises its own error for very long texts.
        if re.fullmatch("[0-9]{1,19}", text) and least <= int(text) <= most:
            return int(text)
        expected = f"expected a whole number from {least} to {most}"
        raise ConfigurationError(f"{name} is {text!r}: {expected}")

    return parse


def _directory(name: str, text: str) -> Path:
    if not text.strip() or os.path.isfile(text):
        raise ConfigurationError(f"{name} is {text!r}: expected a directory, existing or new")
    return Path(text)


# (field of MockDataOptions, environment variable, flag, parser)
SETTINGS: tuple[tuple[str, str, str, Callable[[str, str], Any]], ...] = (
    ("days", "MOCK_LOG_DAYS", "--days", _number(1, 3650)),
    ("logs_per_day", "MOCK_LOGS_PER_DAY", "--logs-per-day", _number(0, 10**6)),
    ("audit_logs_per_day", "MOCK_AUDIT_LOGS_PER_DAY", "--audit-logs-per-day", _number(0, 10**6)),
    ("tenants", "MOCK_LOG_TENANTS", "--tenants", _number(1, 10**6)),
    ("seed", "MOCK_LOG_SEED", "--seed", _number(0, 2**63 - 1)),
    ("out_dir", "MOCK_LOG_OUT_DIR", "--out-dir", _directory),
)


def mock_data_options(
    env: Mapping[str, str], overrides: Mapping[str, int | str | Path | None]
) -> MockDataOptions:
    """Return the options from `overrides` (by field name), else the environment, else the defaults.

    None in `overrides` and an empty variable both mean "not given". Raises ConfigurationError for
    an invalid value.
    """
    given = {}
    for field, variable, flag, parse in SETTINGS:
        override = overrides.get(field)
        if override is not None:
            given[field] = parse(flag, str(override))
        elif env.get(variable):
            given[field] = parse(variable, env[variable])
    return MockDataOptions(**given)


def write_mock_data(options: MockDataOptions) -> MockDataSummary:
    """Write one file per UTC day and kind; each file appears complete or not at all.

    A file of the same name from an earlier run is replaced; other files are left alone. A kind with
    no records a day gets no files. Raises MikroScopeError if a file cannot be written.
    """
    # End yesterday: no record lies in the future, and what a user sends today is listed first.
    end = options.end or datetime.now(UTC).date() - timedelta(days=1)
    days = [end - timedelta(days=ago) for ago in reversed(range(options.days))]
    incident_day = end - timedelta(days=options.days // 3)
    sizes = []
    for day in days if options.logs_per_day else ():
        records = app_records(options, day, incident=day == incident_day)
        sizes.append(_write_day(options.out_dir / "generated" / f"app-{day}.ndjson", records))
    for day in days if options.audit_logs_per_day else ():
        path = options.out_dir / "audit" / "generated" / f"audit-{day}.ndjson"
        sizes.append(_write_day(path, audit_records(options, day)))
    plain, audits = options.days * options.logs_per_day, options.days * options.audit_logs_per_day
    return MockDataSummary(len(sizes), plain + audits, audits, sum(sizes))


def _write_day(path: Path, records: list[Record]) -> int:
    """Write the records to `path` as NDJSON, atomically; return their size in bytes."""
    data = msgspec.json.Encoder().encode_lines(records)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
    except OSError as error:
        raise MikroScopeError(f"cannot write {path}: {error.strerror or error}") from error
    return len(data)


def _replace(path: Path, data: bytes) -> None:
    # The temporary name does not end in .ndjson, so the server does not read half a file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def app_records(options: MockDataOptions, day: date, *, incident: bool) -> list[Record]:
    """Return one day's service logs in time order; with `incident`, the card network fails."""
    rng = Random(f"{options.seed}/app/{day}")
    records: list[Record] = []
    while len(records) < options.logs_per_day:
        records += _activity(rng, options.tenants, incident=incident)
    return _in_time_order(day, records[: options.logs_per_day])


def audit_records(options: MockDataOptions, day: date) -> list[Record]:
    """Return one day's audit logs in time order."""
    rng = Random(f"{options.seed}/audit/{day}")
    return _in_time_order(
        day, [_audit_record(rng, options.tenants) for _ in range(options.audit_logs_per_day)]
    )


def _in_time_order(day: date, records: list[Record]) -> list[Record]:
    """Sort by time and turn milliseconds since midnight into timestamps, all on the same day."""
    records.sort(key=lambda record: int(record["timestamp"]))
    midnight = datetime(day.year, day.month, day.day)
    for record in records:
        moment = midnight + timedelta(milliseconds=min(record["timestamp"], 24 * HOUR_MS - 1))
        record["timestamp"] = moment.isoformat(timespec="milliseconds") + "Z"
    return records


def _activity(rng: Random, tenants: int, *, incident: bool) -> Iterator[Record]:
    """Return the lines of one random request or background job."""
    if incident and rng.random() < INCIDENT_SHARE:
        start = INCIDENT_START_MS + _below(rng, INCIDENT_SPAN_MS)
        return _request(rng, start, tenants, CHECKOUT, "failed")
    start = _time_of_day(rng)
    if rng.random() < BACKGROUND_SHARE:
        step = BACKGROUND[_below(rng, len(BACKGROUND))]
        return iter([_line(start, step, _duration_ms(rng), {}, _facts(rng))])
    flow, outcome = _draw(rng, FLOW_WEIGHTS), _draw(rng, OUTCOME_WEIGHTS)
    return _request(rng, start, tenants, flow, outcome)


def _request(rng: Random, start: int, tenants: int, flow: Flow, outcome: str) -> Iterator[Record]:
    """Yield the lines of one request, which share its ids; the last one has the answer's status."""
    ids, facts, at = _ids(rng, tenants, flow), _facts(rng), start
    for step in _story(flow, outcome):
        took = step.wait_ms + _duration_ms(rng)
        at += took
        line = _line(at, step, took, ids, facts)
        yield line | (_error(flow, line["message"]) if step is flow.failure else {})
    ok, refused, failed = flow.statuses
    status = {"refused": refused, "failed": failed}.get(outcome, ok)
    answer = ANSWERED._replace(level="INFO" if status < 400 else "WARN")
    yield _line(at, answer, at - start, {**ids, "statusCode": status}, facts)


def _story(flow: Flow, outcome: str) -> list[Step]:
    """Return what is logged from the arrival of a request up to its answer."""
    if outcome == "refused":
        return [RECEIVED, flow.refusal]
    if outcome == "failed":
        before = takewhile(lambda step: step.service != flow.failure.service, flow.steps)
        return [RECEIVED, *before, flow.failure]
    if outcome == "slow":
        return [RECEIVED, *(step._replace(wait_ms=SLOW_STEP_MS) for step in flow.steps), SLOW]
    return [RECEIVED, *flow.steps]


def _line(at: int, step: Step, took: int, fields: Record, facts: dict[str, int]) -> Record:
    return {
        "timestamp": at,
        "level": step.level,
        "event": step.event,
        "message": step.message.format(ms=took, **fields, **facts),
        "service": step.service,
        **fields,
        "durationMs": took,
    }


def _error(flow: Flow, message: str) -> Record:
    kind, *frames = flow.error
    stack = "".join([f"{kind}: {message}", *(f"\n    at {frame}" for frame in frames)])
    return {"error": {"type": kind, "message": message, "stack": stack}}


def _ids(rng: Random, tenants: int, flow: Flow) -> Record:
    tenant = _tenant(rng, tenants)
    ids = {"tenantId": f"tenant-{tenant:03}", "userId": f"user-{tenant * 40 + _below(rng, 40):05}"}
    ids |= {"correlationId": _hex(rng) + _hex(rng), "requestId": f"req-{_hex(rng)}"}
    if flow in (CHECKOUT, REFUND):
        ids["orderId"] = f"ORD-{_below(rng, 1_000_000):06}"
    method, route = flow.request.split()
    return {**ids, "method": method, "route": route}


def _tenant(rng: Random, tenants: int) -> int:
    # Squared, so that a few tenants are much busier than the rest.
    return 1 + int(tenants * rng.random() ** 2)


def _audit_record(rng: Random, tenants: int) -> Record:
    action, target, done, denied_share = AUDITS[_below(rng, len(AUDITS))]
    denied = rng.random() < denied_share
    actor = f"staff-{_below(rng, 40) + 1:02}"
    return {
        "timestamp": _time_of_day(rng),
        "level": "WARN" if denied else "INFO",
        "event": f"audit.{action}",
        "message": f"{actor} was denied {action}" if denied else f"{actor} {done}",
        "service": "backoffice",
        "tenantId": f"tenant-{_tenant(rng, tenants):03}",
        "correlationId": _hex(rng) + _hex(rng),
        "requestId": f"req-{_hex(rng)}",
        "audit": True,
        "actor": actor,
        "action": action,
        "target": f"{target}-{_below(rng, 9000) + 1000}",
        "outcome": "denied" if denied else "success",
    }


def _time_of_day(rng: Random) -> int:
    """Draw milliseconds since midnight, weighted by the load of each hour."""
    return rng.choices(range(24), HOUR_WEIGHTS)[0] * HOUR_MS + _below(rng, HOUR_MS)


def _facts(rng: Random) -> dict[str, int]:
    """Draw the numbers in messages, which all lines of a request share."""
    return {"n": 1 + _below(rng, 900), "few": 1 + _below(rng, 9)}


def _duration_ms(rng: Random) -> int:
    return 1 + int(120 * rng.random() ** 3)


def _hex(rng: Random) -> str:
    return f"{_below(rng, 2**32):08x}"


def _draw(rng: Random, weights: Mapping[Choice, int]) -> Choice:
    return rng.choices(list(weights), list(weights.values()))[0]


def _below(rng: Random, limit: int) -> int:
    # Only random() is documented to give the same sequence in every later version of Python.
    return int(limit * rng.random())
