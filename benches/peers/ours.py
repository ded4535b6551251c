"""MikroScope: an index built by the command, questions to a running server over HTTP."""

import json
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from benches.cache import Corpus
from benches.peers.base import DAY, PAGE, TOP, Groups, Question
from benches.program import index, serve
from benches.questions import target


class MikroScope:
    """The program under test."""

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._corpus = corpus
        self._index = directory / "mikroscope.db"
        self._stack = ExitStack()

    @staticmethod
    def missing() -> None:
        """Return None: it is always installed."""

    def insert(self) -> None:
        """Index the file."""
        index(self._corpus.logs, self._index)

    def size(self) -> int:
        """Return the size of the index."""
        return self._index.stat().st_size

    def __enter__(self) -> Self:
        """Start the server."""
        server = self._stack.enter_context(serve(self._corpus.logs, self._index))
        server.wait_until_rested()
        address = urlsplit(server.url)
        self._connection = HTTPConnection(str(address.hostname), address.port)
        self._stack.callback(self._connection.close)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._stack.close()

    def page(self, question: Question) -> list[str]:
        """Request `GET /api/logs`."""
        entries = self._get("/api/logs", question, limit=str(PAGE))["entries"]
        return [entry["timestamp"] for entry in entries]

    def count(self, question: Question) -> int:
        """Return the sum of the counts by level."""
        levels = self._get("/api/logs/aggregate", question, groupBy="level")["buckets"]
        return sum(bucket["count"] for bucket in levels)

    def groups(self, question: Question) -> Groups:
        """Request `GET /api/logs/aggregate`."""
        by = {"groupBy": "field", "groupField": question.group_by}
        buckets = self._get("/api/logs/aggregate", question, limit=str(TOP), **by)["buckets"]
        return [(bucket["key"], bucket["count"]) for bucket in buckets]

    def _get(self, path: str, question: Question, **parameters: str) -> dict[str, Any]:
        for name, value in question.filters:
            parameters |= {"level": value} if name == "level" else {"field": name, "value": value}
        if question.one_day:
            parameters |= {"from": DAY[0], "to": DAY[1]}
        self._connection.request("GET", target(path, **parameters))
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer
