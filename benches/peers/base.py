"""What a peer must be able to do, and the questions that all of them are asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from benches.cache import Corpus

PAGE = 100  # entries
TOP = 100  # groups
DAY = ("2026-01-10T00:00:00.000Z", "2026-01-10T23:59:59.999Z")


@dataclass(frozen=True)
class Question:
    """Which records are meant: those with these values in these fields, of a day or of all."""

    name: str
    filters: tuple[tuple[str, str], ...] = ()
    one_day: bool = False
    group_by: str = ""  # of an aggregate


Groups = list[tuple[str, int]]


class Peer(Protocol):
    """One program with a corpus, used as its users would use it.

    Answers are the same whoever gives them: a page is the times of the newest records, newest
    first; groups come with the highest count first, then by key.
    """

    @staticmethod
    def missing() -> str | None:
        """What must be installed before this can run; None if nothing."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        """Keep what it needs in a directory of its own."""

    def insert(self) -> None:
        """Take in the corpus; nothing to do where files are read as they are."""

    def size(self) -> int:
        """Bytes on disk beside the corpus."""

    def page(self, question: Question) -> list[str]:
        """The times of the newest PAGE records."""

    def count(self, question: Question) -> int:
        """How many records there are."""

    def groups(self, question: Question) -> Groups:
        """The TOP largest groups."""

    def __enter__(self) -> Self:
        """Be ready to be asked."""

    def __exit__(self, *_: object) -> None:
        """Stop what was started."""


def questions(tenant: str, order: str) -> dict[str, list[Question]]:
    """What is asked, by kind; the values are ones that occur."""
    error, warn = ("level", "ERROR"), ("level", "WARN")
    return {
        "page": [
            Question("newest"),
            Question("ERROR", (error,)),
            Question("a tenant's ERROR", (("tenantId", tenant), error)),
            Question("an order", (("orderId", order),)),
            Question("WARN of one day", (warn,), one_day=True),
        ],
        "count": [
            Question("ERROR", (error,)),
            Question("a tenant", (("tenantId", tenant),)),
            Question("ERROR of one day", (error,), one_day=True),
        ],
        "group": [
            Question("level", group_by="level"),
            Question("tenantId of one day", one_day=True, group_by="tenantId"),
            Question("service of ERROR", (error,), group_by="service"),
            Question("durationMs", group_by="durationMs"),
        ],
    }


def sql_where(question: Question) -> str:
    """The condition in SQL; the values are our own, and hold no quotes."""
    conditions = [f"\"{name}\" = '{value}'" for name, value in question.filters]
    if question.one_day:
        conditions.append(f"\"timestamp\" BETWEEN '{DAY[0]}' AND '{DAY[1]}'")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def page_sql(table: str, question: Question) -> str:
    """A page in SQL."""
    where = sql_where(question)
    return f'SELECT * FROM {table}{where} ORDER BY "timestamp" DESC LIMIT {PAGE}'


def count_sql(table: str, question: Question) -> str:
    """A count in SQL."""
    return f"SELECT count(*) AS n FROM {table}{sql_where(question)}"


def groups_sql(table: str, question: Question) -> str:
    """An aggregate in SQL."""
    key = f'CAST("{question.group_by}" AS VARCHAR)'
    return (
        f"SELECT {key} AS k, count(*) AS n FROM {table}{sql_where(question)} "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}"
    )
