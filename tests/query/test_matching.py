"""The reference for all stores: which records match a query."""

import pytest

from mikroscope.query.matching import matches
from mikroscope.query.model import Query
from mikroscope.records.attributes import TEMPLATE_FIELD, entry_template
from mikroscope.records.parsing import Fields


@pytest.mark.parametrize(
    ("fields", "template"),
    [
        ({"message": "order 4711 paid"}, "order <*> paid"),
        ({"event": "job 7 done"}, "job <*> done"),
        ({"message": "a", "event": "b"}, "a"),
        ({}, "log.event"),
        ({"message": "order 4711 paid", "@template": "own"}, "own"),
        ({"message": "order 4711 paid", "@template": 5}, "5"),
        ({"message": "order 4711 paid", "@template": None}, "null"),
        ({"message": "order 4711 paid", "@template": {"a": "b"}}, "order <*> paid"),
        ({"message": "order 4711 paid", "@template": ["own"]}, "order <*> paid"),
    ],
)
def test_templates(fields: Fields, template: str) -> None:
    """Every record has a template: its own field of that name, else of message or event."""
    assert entry_template(fields) == template
    for value in ("order <*> paid", "own", "null", template):
        query = Query(field=TEMPLATE_FIELD, value=value)
        assert matches(query, fields, 0, False) == (value == template)
