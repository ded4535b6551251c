"""Keeps the number of different templates of messages within bounds."""

import apsw

from mikroscope.stores.sqlite.columns import Column, PackedColumn, join_columns, pack_column
from mikroscope.stores.sqlite.piece import TEMPLATE
from mikroscope.stores.sqlite.sealing import FIRST_FIELD, Sealed
from mikroscope.stores.sqlite.tokens import encode_token, segment_token

MAX_TEMPLATES = 50_000
OTHER = "(other)"
"""What stands for every further template."""
_IS_KNOWN = "SELECT 1 FROM templates WHERE template = ?"


def limit_templates(connection: apsw.Connection, sealed: Sealed) -> None:
    """Remember the templates of a segment; those beyond MAX_TEMPLATES become OTHER."""
    new = [one for one in sealed.templates if not connection.execute(_IS_KNOWN, (one,)).get]
    if not new:
        return
    known = int(connection.execute("SELECT count(*) FROM templates").get)
    free = max(0, MAX_TEMPLATES - known)
    connection.executemany("INSERT INTO templates VALUES(?)", [(one,) for one in new[:free]])
    if len(new) > free:
        _replace(sealed, set(new[free:]))


def _replace(sealed: Sealed, too_many: set[str]) -> None:
    place = FIRST_FIELD + sealed.head.columns.index(TEMPLATE)
    packed = PackedColumn(sealed.columns[place], sealed.entries)
    values = [OTHER if value in too_many else value for value in packed.values]
    column = join_columns([(Column(values, packed.codes), sealed.entries)])
    sealed.columns[place] = pack_column(column)
    if sealed.documents:
        sealed.documents[-1] += b" " + encode_token(segment_token(OTHER))
