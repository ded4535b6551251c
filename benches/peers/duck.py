"""DuckDB: SQL over the NDJSON file as it lies there, in this process."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Self

from benches.cache import Corpus
from benches.peers.base import Groups, Question, count_sql, groups_sql, page_sql


class Duck:
    """One connection that stays open; nothing is taken in, every question reads the file."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._corpus = corpus

    @staticmethod
    def missing() -> str | None:
        """The package."""
        found = importlib.util.find_spec("duckdb")
        return None if found else "DuckDB is not installed (pip install duckdb)"

    def insert(self) -> None:
        """It reads the file as it is."""

    def size(self) -> int:
        """It keeps nothing."""
        return 0

    def __enter__(self) -> Self:
        """Connect, and say what the columns are: texts, as everywhere here."""
        with self._corpus.path.open() as file:
            columns = dict.fromkeys(json.loads(file.readline()), "VARCHAR")
        self._table = (
            f"read_json('{self._corpus.path}', format = 'newline_delimited', columns = {columns})"
        )
        self._connection: Any = importlib.import_module("duckdb").connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._connection.close()

    def page(self, question: Question) -> list[str]:
        """A query."""
        return [row[0] for row in self._query(page_sql(self._table, question))]

    def count(self, question: Question) -> int:
        """A query."""
        return int(self._query(count_sql(self._table, question))[0][0])

    def groups(self, question: Question) -> Groups:
        """A query."""
        return [(key, count) for key, count in self._query(groups_sql(self._table, question))]

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows
