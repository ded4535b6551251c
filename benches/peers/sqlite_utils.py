"""sqlite-utils: records as rows of one SQLite table, through its command line."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Self

from benches.cache import Corpus
from benches.peers.base import Groups, Question, count_sql, groups_sql, page_sql
from benches.program import run

COMMAND = (sys.executable, "-m", "sqlite_utils")
TABLE = "logs"
# The indexes that suit these questions; each includes the time, so that pages come in order.
INDEXED = ("level", "tenantId", "orderId")


class SqliteUtils:
    """`sqlite-utils insert`, `create-index` and SQL queries, one process each."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._corpus = corpus
        self._database = directory / "sqlite-utils.db"

    @staticmethod
    def missing() -> str | None:
        """Require the package."""
        found = importlib.util.find_spec("sqlite_utils")
        return None if found else "sqlite-utils is not installed (pip install sqlite-utils)"

    def insert(self) -> None:
        """Insert the file as NDJSON, and create the indexes."""
        run(*COMMAND, "insert", self._database, TABLE, self._corpus.path, "--nl")
        run(*COMMAND, "create-index", self._database, TABLE, "timestamp")
        for column in INDEXED:
            run(*COMMAND, "create-index", self._database, TABLE, column, "timestamp")

    def size(self) -> int:
        """Return the size of the database."""
        return self._database.stat().st_size

    def __enter__(self) -> Self:
        """Do nothing: there is no server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no server."""

    def page(self, question: Question) -> list[str]:
        """Run a query."""
        return [row["timestamp"] for row in self._query(page_sql(TABLE, question))]

    def count(self, question: Question) -> int:
        """Run a query."""
        return int(self._query(count_sql(TABLE, question))[0]["n"])

    def groups(self, question: Question) -> Groups:
        """Run a query; SQLite spells the type TEXT."""
        sql = groups_sql(TABLE, question).replace("VARCHAR", "TEXT")
        return [(row["k"], row["n"]) for row in self._query(sql)]

    def _query(self, sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(run(*COMMAND, self._database, sql).output)
        return rows
