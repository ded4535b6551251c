"""Does a record match a query? The reference for every store, in plain Python."""

from mikroscope.query.model import Query
from mikroscope.records.attributes import TEMPLATE_FIELD, entry_template, level_of
from mikroscope.records.fields import field_values, scalar_text
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.parsing import Fields


def matches(query: Query, fields: Fields, time_ms: int, is_audit: bool) -> bool:
    """Return whether a record meets every condition of a query but `text`.

    `time_ms` is the record's time in epoch milliseconds and `is_audit` its audit attribute, since
    both may come from outside the record. How text is split into words is up to the store.
    """
    if query.audit is not None and query.audit != is_audit:
        return False
    if query.level is not None and severity_of(level_of(fields)) not in severities_in(query.level):
        return False
    if query.from_ms is not None and time_ms < query.from_ms:
        return False
    if query.to_ms is not None and time_ms > query.to_ms:
        return False
    if query.field is None:
        return True
    if query.field == TEMPLATE_FIELD:
        return entry_template(fields) == query.value
    return any(scalar_text(value) == query.value for value in field_values(fields, query.field))
