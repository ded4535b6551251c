"""DuckDB in this process: SQL directly on the NDJSON file, or on a table loaded from it."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Self

from benches.cache import Corpus
from benches.peers.base import Groups, Question, count_sql, groups_sql, page_sql

TABLE = "logs"


class Duck:
    """One connection that stays open; nothing is loaded, every question reads the file."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._corpus = corpus
        self._table = _reading(corpus.path)

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
        """Connect."""
        self._connection = _connect()
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


class LoadedDuck(Duck):
    """The same questions to a table in DuckDB's own format, in the order of the file."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        super().__init__(corpus, directory)
        self._table = TABLE
        self._database = directory / "logs.duckdb"

    def insert(self) -> None:
        """Copy the file into the table, which has no index."""
        connection = _connect(self._database)
        connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM {_reading(self._corpus.path)}")
        connection.close()

    def size(self) -> int:
        """Return the size of the database."""
        return self._database.stat().st_size

    def __enter__(self) -> Self:
        """Open the database."""
        self._connection = _connect(self._database)
        return self


def _connect(database: Path | None = None) -> Any:
    return importlib.import_module("duckdb").connect(str(database or ":memory:"))


def _reading(path: Path) -> str:
    """Return the file as a table in SQL, with all columns as text, as for the other peers."""
    with path.open() as file:
        columns = dict.fromkeys(json.loads(file.readline()), "VARCHAR")
    return f"read_json('{path}', format = 'newline_delimited', columns = {columns})"
