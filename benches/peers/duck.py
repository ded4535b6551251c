"""DuckDB: SQL directly on the NDJSON file, in this process."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Self

from benches.cache import Corpus
from benches.peers.base import Groups, Question, count_sql, groups_sql, page_sql


class Duck:
    """One connection that stays open; nothing is loaded, every question reads the file."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._corpus = corpus

    @staticmethod
    def missing() -> str | None:
        """Require the package."""
        found = importlib.util.find_spec("duckdb")
        return None if found else "DuckDB is not installed (pip install duckdb)"

    def insert(self) -> None:
        """Do nothing: DuckDB reads the file directly."""

    def size(self) -> int:
        """Return 0: nothing is stored."""
        return 0

    def __enter__(self) -> Self:
        """Connect, and declare all columns as text, as for the other peers."""
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
        """Run a query."""
        return [row[0] for row in self._query(page_sql(self._table, question))]

    def count(self, question: Question) -> int:
        """Run a query."""
        return int(self._query(count_sql(self._table, question))[0][0])

    def groups(self, question: Question) -> Groups:
        """Run a query."""
        return [(key, count) for key, count in self._query(groups_sql(self._table, question))]

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows
