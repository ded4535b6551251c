"""`POST /api/ingest` takes arrays, single records and NDJSON, with the same answer."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mikroscope import start_server
from mikroscope.errors import IngestError
from mikroscope.ingest.native import MAX_RECORDS, make_batch
from tests.helpers.server import PRODUCERS, settings_in

NDJSON = {"content-type": "application/x-ndjson"}
TIME = "2026-02-18T10:20:00.000Z"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server; each test adds records of its own."""
    directory = tmp_path_factory.mktemp("bodies")
    headers = {"authorization": "Bearer backend-token"}
    with (
        start_server(settings_in(directory, **PRODUCERS)) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as client,
    ):
        yield client


def counts(answer: httpx.Response) -> tuple[int, int]:
    """Return how many records were accepted and rejected."""
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert set(content) == {"accepted", "queued", "producerId", "receivedAt", "rejected"}
    return content["accepted"], content["rejected"]


def entries(client: httpx.Client) -> list[dict[str, Any]]:
    """Return all entries."""
    found: list[dict[str, Any]] = client.get("/api/logs?limit=1000").json()["entries"]
    return found


def parsed(body: bytes, content_type: str = "") -> tuple[int, int]:
    """Return how many records of a body are accepted and rejected."""
    batch = make_batch(body, "p", TIME, content_type)
    return batch.accepted, batch.rejected


def refused(body: bytes, content_type: str = "") -> str:
    """Return the error for a body, which has to be a 400."""
    with pytest.raises(IngestError) as caught:
        make_batch(body, "p", TIME, content_type)
    assert caught.value.status == 400
    return str(caught.value)


def test_one_object_is_one_record(client: httpx.Client) -> None:
    """An object without `logs` is a record."""
    answer = client.post("/api/ingest", json={"message": "single", "log": [], "level": "error"})
    assert counts(answer) == (1, 0)
    (entry,) = (one for one in entries(client) if one["message"] == "single")
    assert entry["level"] == "ERROR"
    assert entry["data"]["log"] == []
    assert entry["data"]["producerId"] == "backend-api"
    assert entry["timestamp"] == answer.json()["receivedAt"]


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "text/plain", "application/x-ndjson"]
)
def test_lines(client: httpx.Client, content_type: str | None) -> None:
    """Several lines are one record each, whatever the content type says."""
    name = str(content_type)
    body = "".join(json.dumps({"message": name, "n": number}) + "\n" for number in range(3))
    headers = {} if content_type is None else {"content-type": content_type}
    assert counts(client.post("/api/ingest", content=body, headers=headers)) == (3, 0)
    found = [one["data"]["n"] for one in entries(client) if one["message"] == name]
    assert found == [2, 1, 0]


def test_packed_lines(client: httpx.Client) -> None:
    """NDJSON may be compressed; the file then holds whole lines, like those of an array."""
    body = gzip.compress(b'{"message":"packed"}\n{"message":"packed"}')
    headers = NDJSON | {"content-encoding": "gzip"}
    assert counts(client.post("/api/ingest", content=body, headers=headers)) == (2, 0)
    assert [one["message"] for one in entries(client)].count("packed") == 2


def test_bad_line(client: httpx.Client) -> None:
    """One line that is not JSON is a 400 with its number and place, and nothing is stored."""
    before = len(entries(client))
    body = b'{"a":1}\n\n{"b":}\n{"c":1}\n'
    answer = client.post("/api/ingest", content=body, headers=NDJSON)
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        "Invalid JSON payload: line 3 is not JSON: Expecting value at column 6"
    )
    assert len(entries(client)) == before


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1}\n{"b":2}', (2, 0)),  # no line end at the end
        (b'{"a":1}\r\n{"b":2}\r\n', (2, 0)),
        (b'\n\n{"a":1}\n\r\n \t\n{"b":2}\n\n', (2, 0)),
        (b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', (2, 0)),
        (b'{"a":1}\n2\n"x"\nnull\n[{"b":2}]\n', (1, 4)),
        (b'{}\n{"b":2}', (2, 0)),
        (b'{"logs":1}\n{"logs":[{}]}\n', (2, 0)),
        (b'{"a":"\\n"}\n{"b":"\xc3\xa9 \xe2\x80\xa8"}\n', (2, 0)),
        (b'{"a":1e999}\n{"b":"\\ud83d"}\n', (2, 0)),  # only the slower parser reads these
        (b'{"logs":[{"a":1},\n{"b":2}]}', (2, 0)),  # one JSON text on several lines
        (b'[\n  {"a":1},\n  {"b":2}\n]\n', (2, 0)),
        (b'{\n  "a": 1\n}\n', (1, 0)),
        (b'\xef\xbb\xbf[{"a":1}]', (1, 0)),
        (b'\n{"a":1}\n', (1, 0)),
    ],
)
def test_forms_of_lines(body: bytes, expected: tuple[int, int]) -> None:
    """Blank lines, line ends and a byte order mark cost nothing; other values are rejected."""
    assert parsed(body) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/x-ndjson", "application/ndjson", "application/jsonl", "text/x-ndjson"),
        *("application/x-jsonlines", "application/json-lines", "application/stream+json"),
        *("Application/X-NDJSON; charset=utf-8", " application/jsonlines "),
    ],
)
def test_types_of_lines(content_type: str) -> None:
    """With a type of NDJSON, each line is a record: one, an empty one, one with a key `logs`."""
    assert parsed(b'{"a":1}', content_type) == (1, 0)
    assert parsed(b"{}", content_type) == (1, 0)
    assert parsed(b'{"logs":[{"a":1},{"b":2}]}\n', content_type) == (1, 0)
    assert parsed(b'[{"a":1}]\n', content_type) == (0, 1)
    assert refused(b'{\n"a":1}\n', content_type).startswith("Invalid JSON payload: line 1 is not")


@pytest.mark.parametrize("content_type", ["application/json", "application/json-seq", "x", "", "/"])
def test_other_types(content_type: str) -> None:
    """With any other type, the body decides: one line with `logs` is an array of records."""
    assert parsed(b'{"logs":[{"a":1},{"b":2}]}\n', content_type) == (2, 0)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a":1}\nhello\n', "line 2 is not JSON: Expecting value at column 1"),
        (b'{"a":1}\n{"b":2', "line 2 is not JSON: Expecting ',' delimiter at column 7"),
        (b'{"a":1}\r\n\r\n{"b":NaN}', "line 3 is not JSON: NaN is not a JSON value"),
        (b'{"a":1}\n' + b"[" * 100_000, "line 2 is nested too deeply"),
        (b"plain\ntext\n", "Expecting value: line 1 column 1 (char 0)"),
        (b'[\n{"a":1},\n{"b":}\n]', "Expecting value: line 3 column 6 (char 16)"),
        (b'{"a":1},\n{"b":2}\n', "Extra data: line 1 column 8 (char 7)"),
        (b'{"a":1}{"b":2}', "Extra data: line 1 column 8 (char 7)"),
        (b'{"logs":[', "Expecting value: line 1 column 10 (char 9)"),
    ],
)
def test_bodies_that_are_not_json(body: bytes, text: str) -> None:
    """The error names the line and the place in it, or the place in the JSON text."""
    assert refused(body) == f"Invalid JSON payload: {text}"


@pytest.mark.parametrize("body", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_no_line(body: bytes, content_type: str) -> None:
    """A body without any record or array is refused, by whatever type."""
    assert refused(body, content_type).startswith("Invalid JSON payload: the body is empty, ")


def test_limit_of_lines(client: httpx.Client) -> None:
    """A request may hold as many lines as an array may hold items; blank ones do not count."""
    body = b"1\n\n" * MAX_RECORDS
    assert parsed(body) == (0, MAX_RECORDS)
    answer = client.post(
        "/api/ingest", content=gzip.compress(body + b"1"), headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "Payload too large: more than 100000 records, send at most 100000 per request"
    )
