"""The queries over HTTP: pages, counts and groups, with values from the corpus."""

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from benches.cache import Corpus
from benches.lines.moments import START

Record = dict[str, Any]
Parameters = dict[str, str]
Filter = Callable[[Record], Parameters]

DAY = {"from": "2026-01-10T00:00:00Z", "to": "2026-01-10T23:59:59.999Z"}
SCOPES: dict[str, Parameters] = {"all": {}, "one day": DAY}
SMALL_FIELDS = ("service", "route", "host", "statusCode", "tenantId")
THOUSAND_VALUES = "durationMs"  # 1,900 of them
MANY_VALUES = ("userId", "orderId")  # 50,000; one for every four records
FIXED = ("timestamp", "level", "message")  # in every record of every corpus
PAGE = 100  # entries


def sample(corpus: Corpus, count: int, seed: int = 7) -> list[Record]:
    """Return records from anywhere in a corpus."""
    chance = random.Random(seed)
    found = []
    with corpus.path.open("rb") as file:
        for _ in range(count):
            file.seek(chance.randrange(max(1, corpus.size - 100_000)))
            file.readline()
            found.append(json.loads(file.readline()))
    return found


def sample_of_days(corpus: Corpus, count: int, seed: int = 7) -> list[Record]:
    """Return records from anywhere in a corpus, no two of the same day."""
    by_day = {_day(one)["from"]: one for one in sample(corpus, 20 * count, seed)}
    return list(by_day.values())[:count]


def pages(records: list[Record]) -> dict[str, list[str]]:
    """Return targets by kind of page: newest, from a time, by each field, by two, by words."""
    filters: dict[str, Filter] = {
        "newest": _everything,
        "from a time": _until,
        "level": _level,
        **{name: _by(name) for name in records[0] if name not in ("level", "timestamp")},
        "level and tenantId": _by("tenantId", "level"),
        "level and orderId": _by("orderId", "level"),
        "tenantId from a time": _both(_by("tenantId"), _until),
        "level of one day": _both(_level, _day),
        "tenantId of one day": _both(_by("tenantId"), _day),
        "service of one day": _both(_by("service"), _day),
        "a word": _word,
        "a rare word": _rare_word,
        "two words": _two_words,
        "a word and a level": _both(_word, _level),
        "a rare word and a level": _both(_rare_word, _level),
    }
    return {f"page: {kind}": _pages(make, records) for kind, make in filters.items()}


def live_pages(records: list[Record]) -> list[str]:
    """Return targets of pages whose filters also match new records, one kind after the other."""
    filters: tuple[Filter, ...] = (
        *(_everything, _level, _word, _two_words, _both(_word, _level)),
        *(_by(name) for name in ("tenantId", "service", "host")),
    )
    return [page(**make(one)) for one in records for make in filters]


def odd_pages(records: list[Record]) -> dict[str, list[str]]:
    """Return targets of pages by kind, for records with any fields."""
    filters: dict[str, Filter] = {
        "newest": _everything,
        "from a time": _until,
        "level": _level,
        "level of one day": _both(_level, _day),
        "any field": _by_any,
        "any field of one day": _both(_by_any, _day),
        "any field and a level": _both(_by_any, _level),
        "a word": _word,
        "a word and a level": _both(_word, _level),
    }
    return {f"page: {kind}": _pages(make, records) for kind, make in filters.items()}


def odd_groups(records: list[Record]) -> dict[str, list[str]]:
    """Return targets of groups by kind, for records with any fields."""
    makers: dict[str, Filter] = {
        "level": _grouped(BY_LEVEL),
        "level of any field": _grouped(BY_LEVEL, _by_any),
        "level of a word": _grouped(BY_LEVEL, _word),
        "any field": lambda record: _group(_any(record)),
        "any field of a level": lambda record: {**_group(_any(record)), **_level(record)},
    }
    return {
        f"group: {kind}, {scope}": [aggregate(**make(one), **span(one)) for one in records]
        for scope, span in {"one day": _day, "all": _everything}.items()
        for kind, make in makers.items()
    }


def _pages(make: Filter, records: list[Record]) -> list[str]:
    return [page(**make(one)) for one in records]


def _everything(record: Record) -> Parameters:
    return {}


def _until(record: Record) -> Parameters:
    return {"to": record["timestamp"]}


def _level(record: Record) -> Parameters:
    return {"level": record["level"]}


def _day(record: Record) -> Parameters:
    """Select the day of a record."""
    day, _, _ = record["timestamp"].partition("T")
    return {"from": f"{day}T00:00:00Z", "to": f"{day}T23:59:59.999Z"}


def _word(record: Record) -> Parameters:
    return {"text": _words(record)[0]}


def _two_words(record: Record) -> Parameters:
    return {"text": " ".join(record["message"].split()[:2])}


def _rare_word(record: Record) -> Parameters:
    """Select the number in the message."""
    return {"text": next(word for word in record["message"].split() if word.isdecimal())}


def _words(record: Record) -> list[str]:
    return [word for word in record["message"].split() if word.isalpha()]


def _by_any(record: Record) -> Parameters:
    return _by(_any(record))(record)


def _any(record: Record) -> str:
    """Return the name of a field with a text or a number, always the same for the same record."""
    names = [
        name
        for name, value in record.items()
        if isinstance(value, str | int) and not isinstance(value, bool) and name not in FIXED
    ]
    return random.Random(record["timestamp"]).choice(names)


def _both(*filters: Filter) -> Filter:
    """Combine filters."""
    return lambda record: {name: text for one in filters for name, text in one(record).items()}


def _by(name: str, *attributes: str) -> Filter:
    return lambda record: {
        "field": name,
        "value": str(record[name]),
        **{attribute: str(record[attribute]) for attribute in attributes},
    }


def counts(records: list[Record]) -> dict[str, list[str]]:
    """Return targets by kind of count: a group by level of the entries that match a filter."""
    filters: dict[str, Filter] = {
        "everything": _everything,
        "level": _level,
        "tenantId": _by("tenantId"),
        "orderId": _by("orderId"),
        "two words": _two_words,
    }
    return {
        f"count: {kind}, {scope}": [
            aggregate(groupBy="level", **make(one), **span) for one in records
        ]
        for kind, make in filters.items()
        for scope, span in SCOPES.items()
    }


def groups() -> dict[str, str]:
    """Return targets by kind of aggregate."""
    plain = _plain_groups()
    tenant = {"field": "tenantId", "value": "tenant-199"}
    filtered = {
        "service of ERROR": {**plain["service"], "level": "ERROR"},
        "event of a tenant": {**plain["event"], **tenant},
        "durationMs of WARN": {**plain["durationMs"], "level": "WARN"},
        "correlation of a tenant": {**plain["correlation"], **tenant},
    }
    return {
        f"group: {kind}, {scope}": aggregate(**parameters, **span)
        for kind, parameters in (plain | filtered).items()
        for scope, span in SCOPES.items()
    }


def unfiltered() -> set[str]:
    """Return the kinds of aggregates without a filter."""
    return {f"group: {kind}, {scope}" for kind in _plain_groups() for scope in SCOPES}


def _plain_groups() -> dict[str, Parameters]:
    return {
        **{name: {"groupBy": name} for name in ("level", "event", "correlation")},
        **{name: _group(name) for name in (*SMALL_FIELDS, THOUSAND_VALUES, *MANY_VALUES)},
    }


def filtered_groups(records: list[Record]) -> dict[str, list[str]]:
    """Return targets of groups under a filter by kind, no two of a kind the same.

    This requires records of different days. One day is that of the record; all leaves out as much
    of the first hour as the record's time is past its own hour.
    """
    return {
        f"group: {kind}, {scope}": [aggregate(**make(one), **span(one)) for one in records]
        for scope, span in {"one day": _day, "all": _almost_everything}.items()
        for kind, make in FILTERED.items()
    } | {
        f"ids: {kind}, one day": [aggregate(**make(one), **_day(one)) for one in records]
        for kind, make in FILTERED_IDS.items()
    }


def _almost_everything(record: Record) -> Parameters:
    minutes_and_rest = record["timestamp"][len("2026-01-01T00") :]
    return {"from": f"{START:%Y-%m-%dT%H}{minutes_and_rest}"}


def _grouped(by: Parameters, *filters: Filter) -> Filter:
    return _both(lambda record: by, *filters)


def _of_levels(*levels: str) -> Filter:
    return lambda record: {"level": ",".join(levels)}


def _group(name: str) -> Parameters:
    return {"groupBy": "field", "groupField": name}


BY_LEVEL: Parameters = {"groupBy": "level"}
FILTERED: dict[str, Filter] = {
    "tenantId of ERROR": _grouped(_group("tenantId"), _of_levels("ERROR")),
    "event of INFO": _grouped({"groupBy": "event"}, _of_levels("INFO")),
    "service of a tenant": _grouped(_group("service"), _by("tenantId")),
    "level of a tenant": _grouped(BY_LEVEL, _by("tenantId")),
    "level of a route": _grouped(BY_LEVEL, _by("route")),
    "service of all levels but INFO": _grouped(
        _group("service"), _of_levels("DEBUG", "WARN", "ERROR")
    ),
    "host of a service's level": _grouped(_group("host"), _by("service", "level")),
    "durationMs of WARN": _grouped(_group("durationMs"), _of_levels("WARN")),
    "tenantId of an event": _grouped(_group("tenantId"), _by("event")),
    "service of a word": _grouped(_group("service"), _word),
    "tenantId of a word's ERROR": _grouped(_group("tenantId"), _word, _of_levels("ERROR")),
    "service of all but audit": _grouped(_group("service"), lambda record: {"audit": "false"}),
}
FILTERED_IDS: dict[str, Filter] = {
    "correlation": _grouped({"groupBy": "correlation"}),
    "orderId": _grouped(_group("orderId")),
    "userId": _grouped(_group("userId")),
    "orderId of a tenant": _grouped(_group("orderId"), _by("tenantId")),
    "correlation of ERROR": _grouped({"groupBy": "correlation"}, _of_levels("ERROR")),
}


def page(**parameters: str) -> str:
    """Return a path that asks for a page."""
    return target("/api/logs", limit=str(PAGE), **parameters)


def aggregate(**parameters: str) -> str:
    """Return a path that asks for groups."""
    return target("/api/logs/aggregate", **parameters)


def target(path: str, **parameters: str) -> str:
    """Return a path with its query."""
    return f"{path}?{urlencode(parameters)}"
