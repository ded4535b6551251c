"""The corpora are what their names say, and the questions to them differ where they must."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest
from benches.cache import Cache
from benches.corpus import SHAPES, Shape, write_corpus
from benches.lines.moments import MANY_DAYS, partly_late
from benches.lines.odd import FIELDS, NAMES_A_RECORD, UNIQUE_FIELDS
from benches.questions import filtered_groups, sample_of_days

RECORDS = 3000


def _records(shape: Shape, directory: Path) -> list[dict[str, Any]]:
    path = directory / "corpus.ndjson"
    write_corpus(path, RECORDS, shape=shape)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("shape", SHAPES)
def test_corpus_is_seeded(shape: Shape, tmp_path: Path) -> None:
    """Every corpus has the same bytes each time, and its records have time, level, message."""
    records = _records(shape, tmp_path)
    assert len(records) == RECORDS
    assert all({"timestamp", "level", "message"} <= set(record) for record in records)
    assert records == _records(shape, tmp_path)


def test_late_lines() -> None:
    """One line in ten is late, by up to five days; the others ascend."""
    times = [datetime.fromisoformat(text) for text in partly_late(20_000, Random(1), 0.1)]
    newest, delays = times[0], []
    for time in times:
        newest = max(newest, time)
        if time < newest:
            delays.append(newest - time)
    assert 0.09 < len(delays) / len(times) < 0.11
    assert timedelta(days=4) < max(delays) <= timedelta(days=5)


def test_days_in_order(tmp_path: Path) -> None:
    """`days` covers its thousands of days evenly and in order."""
    days = [record["timestamp"][:10] for record in _records("days", tmp_path)]
    assert days == sorted(days)
    assert len(set(days)) == RECORDS < MANY_DAYS
    first, last = (datetime.fromisoformat(day) for day in (days[0], days[-1]))
    assert (last - first).days + 2 == MANY_DAYS


def test_days_in_no_order(tmp_path: Path) -> None:
    """`any-day` jumps between its days."""
    days = [record["timestamp"][:10] for record in _records("any-day", tmp_path)]
    assert len(set(days)) > 2000
    backwards = sum(later < earlier for earlier, later in pairwise(days))
    assert 0.45 < backwards / RECORDS < 0.55


def test_shapes(tmp_path: Path) -> None:
    """Records of `shapes` have sixty fields, and hardly two have the same names in one order."""
    records = _records("shapes", tmp_path)
    assert {len(record) for record in records} == {FIELDS}
    assert len({tuple(record) for record in records}) > 2500


def test_names(tmp_path: Path) -> None:
    """Records of `names` have eight fields whose names are among very many."""
    found = [
        [name for name in record if name.startswith("name")]
        for record in _records("names", tmp_path)
    ]
    assert {len(names) for names in found} == {NAMES_A_RECORD}
    assert len({name for names in found for name in names}) > 17_000


def test_unique_values(tmp_path: Path) -> None:
    """No value of the fifty fields of `unique` occurs twice."""
    values = [
        (name, value)
        for record in _records("unique", tmp_path)
        for name, value in record.items()
        if name.startswith("unique")
    ]
    assert len(set(values)) == len(values) == RECORDS * UNIQUE_FIELDS


def test_filtered_groups_do_not_repeat(tmp_path: Path) -> None:
    """No group under a filter is asked for twice with the same values, so none is remembered."""
    corpus = Cache(tmp_path).corpus("plain", RECORDS)
    for kind, targets in filtered_groups(sample_of_days(corpus, 6)).items():
        assert len(set(targets)) == len(targets) == 6, kind


def test_filtered_groups_have_a_filter(tmp_path: Path) -> None:
    """Each group under a filter has another filter than its times."""
    corpus = Cache(tmp_path).corpus("plain", RECORDS)
    for kind, targets in filtered_groups(sample_of_days(corpus, 2)).items():
        given = {name for name, _ in parse_qsl(targets[0].partition("?")[2])}
        assert kind.startswith("ids: ") or given & {"level", "field", "text", "audit"}, kind
        assert "from" in given, kind
