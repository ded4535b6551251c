"""The interface of a peer, and the questions for all peers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from benches.cache import Corpus

PAGE = 100  # entries
TOP = 100  # groups
DAY = ("2026-01-10T00:00:00.000Z", "2026-01-10T23:59:59.999Z")


@dataclass(frozen=True)
class Question:
    """A filter: records with these values in these fields, of one day or of all."""

    name: str
    filters: tuple[tuple[str, str], ...] = ()
    one_day: bool = False
    group_by: str = ""  # only for aggregates


Groups = list[tuple[str, int]]


class Peer(Protocol):
    """One program with a corpus, used as its users would use it.

    All peers return the same answers: a page is the times of the newest records, newest first;
    groups are ordered by descending count, then by key.
    """

    @staticmethod
    def missing() -> str | None:
        """Return what must be installed before this peer can run; None if nothing."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        """Use `directory` for all files of this peer."""

    def insert(self) -> None:
        """Load the corpus; do nothing if the peer reads the file directly."""

    def size(self) -> int:
        """Return the bytes on disk in addition to the corpus."""

    def page(self, question: Question) -> list[str]:
        """Return the times of the newest PAGE records."""

    def count(self, question: Question) -> int:
        """Return how many records match."""

    def groups(self, question: Question) -> Groups:
        """Return the TOP largest groups."""

    def __enter__(self) -> Self:
        """Prepare to answer questions."""

    def __exit__(self, *_: object) -> None:
        """Stop whatever `__enter__` started."""


def questions(tenant: str, order: str) -> dict[str, list[Question]]:
    """Return the questions by kind, with values that occur in the corpus."""
    error, warn, info = (("level", level) for level in ("ERROR", "WARN", "INFO"))
    one_tenant = ("tenantId", tenant)
    return {
        "page": [
            Question("newest"),
            Question("ERROR", (error,)),
            Question("a tenant's ERROR", (one_tenant, error)),
            Question("an order", (("orderId", order),)),
            Question("WARN of one day", (warn,), one_day=True),
        ],
        "count": [
            Question("ERROR", (error,)),
            Question("a tenant", (one_tenant,)),
            Question("ERROR of one day", (error,), one_day=True),
        ],
        "group": [
            Question("level", group_by="level"),
            Question("tenantId of one day", one_day=True, group_by="tenantId"),
            Question("service of ERROR", (error,), group_by="service"),
            Question("durationMs", group_by="durationMs"),
            Question("tenantId of ERROR", (error,), group_by="tenantId"),
            Question("tenantId of ERROR of one day", (error,), True, "tenantId"),
            Question("event of INFO", (info,), group_by="event"),
            Question("event of INFO of one day", (info,), True, "event"),
            Question("service of a tenant", (one_tenant,), group_by="service"),
            Question("service of a tenant of one day", (one_tenant,), True, "service"),
            Question("correlationId of one day", one_day=True, group_by="correlationId"),
        ],
    }


def sql_where(question: Question) -> str:
    """Return the condition in SQL; the values are our own, and contain no quotes."""
    conditions = [f"\"{name}\" = '{value}'" for name, value in question.filters]
    if question.one_day:
        conditions.append(f"\"timestamp\" BETWEEN '{DAY[0]}' AND '{DAY[1]}'")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def page_sql(table: str, question: Question) -> str:
    """Return the SQL for a page."""
    where = sql_where(question)
    return f'SELECT * FROM {table}{where} ORDER BY "timestamp" DESC LIMIT {PAGE}'


def count_sql(table: str, question: Question) -> str:
    """Return the SQL for a count."""
    return f"SELECT count(*) AS n FROM {table}{sql_where(question)}"


def groups_sql(table: str, question: Question) -> str:
    """Return the SQL for an aggregate."""
    key = f'CAST("{question.group_by}" AS VARCHAR)'
    return (
        f"SELECT {key} AS k, count(*) AS n FROM {table}{sql_where(question)} "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}"
    )
