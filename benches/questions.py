"""The queries over HTTP: pages, counts and groups, with values from the corpus."""

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from benches.cache import Corpus

Record = dict[str, Any]
Parameters = dict[str, str]

DAY = {"from": "2026-01-10T00:00:00Z", "to": "2026-01-10T23:59:59.999Z"}
SCOPES: dict[str, Parameters] = {"all": {}, "one day": DAY}
SMALL_FIELDS = ("service", "route", "host", "statusCode", "tenantId")
THOUSAND_VALUES = "durationMs"  # 1,900 of them
MANY_VALUES = ("userId", "orderId")  # 50,000; one for every four records


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


def pages(records: list[Record]) -> dict[str, list[str]]:
    """Return targets by kind of page: newest, from a time, by each field, by two, by words."""
    filters: dict[str, Callable[[Record], Parameters]] = {
        "newest": lambda record: {},
        "from a time": lambda record: {"to": record["timestamp"]},
        "level": lambda record: {"level": record["level"]},
        **{name: _by(name) for name in records[0] if name not in ("level", "timestamp")},
        "level and tenantId": _by("tenantId", "level"),
        "level and orderId": _by("orderId", "level"),
        "tenantId from a time": lambda record: {
            **_by("tenantId")(record),
            "to": record["timestamp"],
        },
        "two words": lambda record: {"text": " ".join(record["message"].split()[:2])},
    }
    return {
        f"page: {kind}": [target("/api/logs", limit="100", **make(one)) for one in records]
        for kind, make in filters.items()
    }


def _by(name: str, *attributes: str) -> Callable[[Record], Parameters]:
    return lambda record: {
        "field": name,
        "value": str(record[name]),
        **{attribute: str(record[attribute]) for attribute in attributes},
    }


def counts(records: list[Record]) -> dict[str, list[str]]:
    """Return targets by kind of count: a group by level of the entries that match a filter."""
    filters: dict[str, Callable[[Record], Parameters]] = {
        "everything": lambda record: {},
        "level": lambda record: {"level": record["level"]},
        "tenantId": _by("tenantId"),
        "orderId": _by("orderId"),
        "two words": lambda record: {"text": " ".join(record["message"].split()[:2])},
    }
    return {
        f"count: {kind}, {scope}": [
            target("/api/logs/aggregate", groupBy="level", **make(one), **span) for one in records
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
        f"group: {kind}, {scope}": target("/api/logs/aggregate", **parameters, **span)
        for kind, parameters in (plain | filtered).items()
        for scope, span in SCOPES.items()
    }


def unfiltered() -> set[str]:
    """Return the kinds of aggregates without a filter."""
    return {f"group: {kind}, {scope}" for kind in _plain_groups() for scope in SCOPES}


def _plain_groups() -> dict[str, Parameters]:
    return {
        **{name: {"groupBy": name} for name in ("level", "event", "correlation")},
        **{
            name: {"groupBy": "field", "groupField": name}
            for name in (*SMALL_FIELDS, THOUSAND_VALUES, *MANY_VALUES)
        },
    }


def target(path: str, **parameters: str) -> str:
    """Return a path with its query."""
    return f"{path}?{urlencode(parameters)}"
