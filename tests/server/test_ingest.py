"""`POST /api/ingest`: what is accepted and refused, and what the files and the index then hold."""

import gzip
import json
import logging
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mikroscope import RunningServer, start_server
from mikroscope.indexing.indexer import Indexer
from mikroscope.ingest.native import make_batch
from mikroscope.records.parsing import parse_line
from tests.helpers.forms import examples
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import wait_until

PRODUCERS = "backend-token=backend-api,frontend-token=frontend-web"
BACKEND = {"authorization": "Bearer backend-token"}
FRONTEND = {"authorization": "Bearer frontend-token"}
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LIMIT = 4096
HOUR_MS = 3_600_000


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    return serve(ingest_producers=PRODUCERS, ingest_max_body_bytes=LIMIT)


@pytest.fixture
def client(server: RunningServer, connect: Connect) -> httpx.Client:
    return connect(server, headers=BACKEND)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server for all tests that only add records of their own."""
    directory = tmp_path_factory.mktemp("roomy")
    with (
        start_server(settings_in(directory, ingest_producers=PRODUCERS)) as server,
        httpx.Client(base_url=server.url, headers=BACKEND, timeout=30, trust_env=False) as client,
    ):
        yield client


def post(client: httpx.Client, payload: object, **options: Any) -> httpx.Response:
    return client.post("/api/ingest", json=payload, **options)


def found(client: httpx.Client, field: str, value: str) -> list[dict[str, Any]]:
    answer = client.get("/api/logs", params={"field": field, "value": value})
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


def queue_health(client: httpx.Client) -> dict[str, Any]:
    health: dict[str, Any] = client.get("/health").json()["ingestEndpoint"]["queue"]
    return health


def log_file(directory: Path, answer: httpx.Response) -> Path:
    content = answer.json()
    name = f"{content['receivedAt'][:10]}.ndjson"
    return directory / "logs" / "ingest" / str(content["producerId"]) / name


def exchange(server: RunningServer, request: bytes) -> bytes:
    """Send raw bytes, and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


# --- responses ----------------------------------------------------------------------------------


def test_answer_of_a_written_request(client: httpx.Client) -> None:
    """A 200 reports the counts of accepted and rejected records, the producer and the time."""
    answer = post(client, [{"a": 1}, {"a": 2}, 3])
    received_at = answer.json()["receivedAt"]
    assert answer.status_code == 200
    assert ISO_TIME.fullmatch(received_at)
    assert answer.json() == {
        "accepted": 2,
        "queued": False,
        "producerId": "backend-api",
        "receivedAt": received_at,
        "rejected": 1,
    }


def test_written_means_findable(client: httpx.Client) -> None:
    """After a 200 the very next query finds the record."""
    for number in range(30):
        assert post(client, [{"number": number}]).status_code == 200
        assert len(found(client, "number", str(number))) == 1


def test_findable_without_auto_ingest(serve: Serve, connect: Connect) -> None:
    """With `--disable-auto-ingest`, too, a 200 means that the next query finds the record."""
    server = serve(ingest_producers=PRODUCERS, disable_auto_ingest=True)
    client = connect(server, headers=BACKEND)
    for number in range(3):
        assert post(client, [{"number": number}]).status_code == 200
        assert len(found(client, "number", str(number))) == 1


def test_logs_in_an_object(client: httpx.Client) -> None:
    """`{"logs": […]}` is accepted like a bare array; its other keys are ignored."""
    answer = post(client, {"logs": [{"shape": "object"}], "sentBy": "page"})
    assert answer.json()["accepted"] == 1
    assert len(found(client, "shape", "object")) == 1


@pytest.mark.parametrize("payload", [[], {"logs": []}])
def test_empty_array(client: httpx.Client, tmp_path: Path, payload: object) -> None:
    """An empty array is accepted: zeros, and no file."""
    answer = post(client, payload)
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (0, 0)
    assert not log_file(tmp_path, answer).exists()


def test_items_that_are_no_objects(client: httpx.Client) -> None:
    """Items that are not objects are rejected and counted; the others are accepted."""
    answer = post(client, [1, "text", None, True, [{"a": 1}], {"kept": "yes"}, 1.5])
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 6)
    assert len(found(client, "kept", "yes")) == 1


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("{}", "got an object without fields"),
        ('{"logs": {}}', "'logs' is not an array"),
        ('{"logs": null, "a": 1}', "'logs' is not an array"),
        ('{"a": 1, "logs": "x"}', "'logs' is not an array"),
        ('"a"', "got a string"),
        ("1", "got a number"),
        ("null", "got null"),
        ("true", "got a boolean"),
    ],
)
def test_wrong_shape(roomy: httpx.Client, body: str, what: str) -> None:
    """Any other shape is a 400 that says what is expected."""
    answer = roomy.post("/api/ingest", content=body)
    assert answer.status_code == 400
    text = answer.json()["error"]
    assert text.startswith(f"Invalid ingest payload: {what}, expected [{{…}}], ")
    assert '{"logs": [{…}]}' in text


@pytest.mark.parametrize(
    "body",
    [b"{", b'[{"a": 1}', b'[{"a": 1}] x', b"[{'a': 1}]", b"\xff\xfe", b'[{"a": NaN}]', b"[1e]"],
)
def test_not_json(roomy: httpx.Client, body: bytes) -> None:
    """A body that is not JSON is a 400 that says so."""
    answer = roomy.post("/api/ingest", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Invalid JSON payload: ")


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_empty_body(roomy: httpx.Client, body: bytes) -> None:
    """An empty body is a 400."""
    answer = roomy.post("/api/ingest", content=body)
    assert answer.status_code == 400
    assert "empty" in answer.json()["error"]


def test_content_type_does_not_matter(client: httpx.Client) -> None:
    """The body counts, not its content type: `sendBeacon` of a web page sends text/plain."""
    body = json.dumps([{"by": "beacon"}])
    client.post("/api/ingest", content=body, headers={"content-type": "text/plain"})
    assert len(found(client, "by", "beacon")) == 1


# --- limits and encodings -----------------------------------------------------------------------


def body_of(size: int) -> bytes:
    """A payload of one record that is exactly so many bytes long."""
    frame = len(b'[{"pad":""}]')
    return b'[{"pad":"%b"}]' % (b"x" * (size - frame))


def test_body_at_the_limit(client: httpx.Client) -> None:
    """A body of exactly `--ingest-max-body-bytes` is accepted."""
    assert client.post("/api/ingest", content=body_of(LIMIT)).status_code == 200


def test_body_over_the_limit(client: httpx.Client) -> None:
    """One byte more is a 413 that names the limit, and nothing is stored."""
    answer = client.post("/api/ingest", content=body_of(LIMIT + 1))
    assert answer.status_code == 413
    assert str(LIMIT) in answer.json()["error"]
    assert client.get("/api/logs").json()["entries"] == []


def test_chunked_body_over_the_limit(client: httpx.Client) -> None:
    """A body that does not announce its length is a 413 as soon as it is too long."""
    answer = client.post("/api/ingest", content=(b" " * 512 for _ in range(LIMIT // 512 + 1)))
    assert answer.status_code == 413


def test_chunked_body(client: httpx.Client) -> None:
    """A body that does not announce its length is accepted like any other."""
    answer = client.post("/api/ingest", content=iter([b'[{"in":', b'"chunks"}', b"]"]))
    assert answer.status_code == 200
    assert len(found(client, "in", "chunks")) == 1


def test_announced_length_over_the_limit(server: RunningServer) -> None:
    """An announced length over the limit is a 413 at once, without waiting for the body."""
    answer = exchange(
        server,
        b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer backend-token\r\n"
        b"connection: close\r\ncontent-length: 999999999999\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_connection_after_a_refused_body(client: httpx.Client) -> None:
    """A refused body does not affect the next request on the same connection."""
    for _ in range(3):
        assert client.post("/api/ingest", content=body_of(100 * LIMIT)).status_code == 413
        assert post(client, [{"a": 1}]).status_code == 200


def post_gzip(client: httpx.Client, body: bytes, encoding: str = "gzip") -> httpx.Response:
    return client.post("/api/ingest", content=body, headers={"content-encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
def test_gzip_body(client: httpx.Client, encoding: str) -> None:
    """A gzip body is unpacked."""
    answer = post_gzip(client, gzip.compress(b'[{"packed":"yes"}]'), encoding)
    assert answer.status_code == 200
    assert len(found(client, "packed", "yes")) == 1


def test_gzip_body_of_several_members(client: httpx.Client) -> None:
    """A gzip body may have several members, as `cat a.gz b.gz` makes them, and be padded."""
    body = gzip.compress(b'[{"part":"one"},') + gzip.compress(b'{"part":"two"}]') + b"\0" * 9
    assert post_gzip(client, body).json()["accepted"] == 2


def test_limit_counts_unpacked_bytes(client: httpx.Client) -> None:
    """The limit applies after decompression, to the byte."""
    assert post_gzip(client, gzip.compress(body_of(LIMIT))).status_code == 200
    assert post_gzip(client, gzip.compress(body_of(LIMIT + 1))).status_code == 413


def test_gzip_bomb(client: httpx.Client) -> None:
    """A small body that unpacks to very much is a 413."""
    bomb = gzip.compress(b" " * 3_000_000)
    assert len(bomb) < LIMIT
    assert post_gzip(client, bomb).status_code == 413


PACKED = gzip.compress(b'[{"a": 1}]', mtime=0)  # the same bytes in every test process


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a": 1}]',
        b"\x1f\x8b",
        PACKED[:-4],
        PACKED[:12],
        PACKED[:-8] + b"\0" * 8,
        PACKED + b"more",
    ],
)
def test_broken_gzip_body(roomy: httpx.Client, body: bytes) -> None:
    """A body that is broken or truncated gzip, or not gzip, is a 400."""
    answer = post_gzip(roomy, body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the ")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_unknown_content_encoding(roomy: httpx.Client, encoding: str) -> None:
    """Another content-encoding is a 415 that names it."""
    answer = post_gzip(roomy, b"[]", encoding)
    assert answer.status_code == 415
    assert encoding in answer.json()["error"]


# --- producers ------------------------------------------------------------------------------------


def test_producer_of_a_token(client: httpx.Client) -> None:
    """The token determines the producer: in the response, the record and the file's path."""
    for headers, producer in ((BACKEND, "backend-api"), (FRONTEND, "frontend-web")):
        assert post(client, [{"a": 1}], headers=headers).json()["producerId"] == producer
        (entry,) = found(client, "producerId", producer)
        assert entry["sourceFile"].startswith(f"ingest/{producer}/")


def test_producer_and_receipt_cannot_be_claimed(client: httpx.Client) -> None:
    """The server replaces `producerId` and `ingestedAt` in a record by its own values."""
    claims = {"producerId": "frontend-web", "ingestedAt": "1999-01-01T00:00:00Z", "claim": "x"}
    answer = post(client, [claims])
    (entry,) = found(client, "claim", "x")
    assert entry["data"]["producerId"] == "backend-api"
    assert entry["data"]["ingestedAt"] == answer.json()["receivedAt"]
    assert found(client, "producerId", "frontend-web") == []


def test_receipt_is_the_time_of_a_record_without_one(client: httpx.Client) -> None:
    """A record without a time gets the time of its receipt."""
    received_at = post(client, [{"no": "time"}]).json()["receivedAt"]
    (entry,) = found(client, "no", "time")
    assert entry["timestamp"] == received_at


def test_basic_user_is_the_producer(serve: Serve, connect: Connect) -> None:
    """With Basic auth the user's name is the producer's id, and no token is needed."""
    client = connect(serve(auth_username="ops.team", auth_password="pass:wörd"))
    answer = post(client, [{"a": 1}], auth=("ops.team", "pass:wörd"))
    assert answer.status_code == 200
    assert answer.json()["producerId"] == "ops.team"


def test_token_beyond_ascii(serve: Serve, connect: Connect) -> None:
    """A token may have letters of any language; clients send them as UTF-8."""
    client = connect(serve(ingest_producers="schlüssel=p"))
    headers = {"authorization": "Bearer schlüssel".encode()}
    assert post(client, [], headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "No credentials. Use a producer token"),
        ("", "No credentials. Use a producer token"),
        ("Bearer", "Wrong credentials. Use a producer token"),
        ("Bearer BACKEND-TOKEN", "Wrong credentials. Use a producer token"),
        ("backend-token", "Wrong credentials. Use a producer token"),
        ("Bearer api-token", "This token may query but not send. Use a producer token"),
    ],
)
def test_wrong_credentials(
    serve: Serve, connect: Connect, authorization: str | None, reason: str
) -> None:
    """Missing and wrong credentials, the API token too, are a 401 that names the accepted ones."""
    client = connect(serve(ingest_producers=PRODUCERS, api_token="api-token"))
    headers = {} if authorization is None else {"authorization": authorization}
    answer = post(client, [], headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="mikroscope"'
    assert answer.json()["error"].startswith(f"Unauthorized: {reason} (--ingest-producers)")


def test_credentials_come_first(client: httpx.Client) -> None:
    """Without credentials, a client learns nothing about limits and shapes."""
    answer = client.post(
        "/api/ingest", content=body_of(LIMIT + 1), headers={"authorization": "Bearer no"}
    )
    assert answer.status_code == 401


def test_endpoint_is_off(serve: Serve, connect: Connect) -> None:
    """Without producers and without Basic auth ingest is off: a 404 that says how to enable it."""
    answer = post(connect(serve(api_token="t")), [], headers={"authorization": "Bearer t"})
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("Ingest endpoint is not enabled: ")
    assert "--ingest-producers TOKEN=NAME" in answer.json()["error"]


# --- files ----------------------------------------------------------------------------------------


def test_file_of_a_producer_and_day(client: httpx.Client, tmp_path: Path) -> None:
    """Records are whole lines of `logs/ingest/<producer>/<UTC day>.ndjson`, in their order."""
    answer = post(client, [{"n": 1, "text": "two\nlines"}, {"n": 2}])
    content = log_file(tmp_path, answer).read_bytes()
    assert content.endswith(b"\n")
    records = [json.loads(line) for line in content.splitlines()]
    receipt = {"producerId": "backend-api", "ingestedAt": answer.json()["receivedAt"]}
    assert records == [{"n": 1, "text": "two\nlines"} | receipt, {"n": 2} | receipt]


def test_half_line_of_a_crash(client: httpx.Client, tmp_path: Path) -> None:
    """After a crash that left half a line, the next record has a line of its own."""
    path = log_file(tmp_path, post(client, [{"n": "first"}]))
    with path.open("ab") as file:
        file.write(b'{"n": "half')
    post(client, [{"n": "second"}])
    first, half, second, end = path.read_bytes().split(b"\n")
    assert (half, end) == (b'{"n": "half', b"")
    assert [json.loads(line)["n"] for line in (first, second)] == ["first", "second"]
    assert found(client, "n", "second")[0]["lineNumber"] == 3


def test_half_line_of_a_crash_before_the_start(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    """A half line from before the start does not damage the next record either."""
    with serve(ingest_producers=PRODUCERS) as server:
        path = log_file(tmp_path, post(connect(server, headers=BACKEND), [{"n": "first"}]))
    path.write_bytes(path.read_bytes()[:-5])
    client = connect(serve(ingest_producers=PRODUCERS), headers=BACKEND)
    post(client, [{"n": "second"}])
    assert len(path.read_bytes().splitlines()) == 2
    assert len(found(client, "n", "second")) == 1


def test_renamed_file(client: httpx.Client, tmp_path: Path) -> None:
    """A file renamed between two requests: the next record is in a new one, all found once."""
    path = log_file(tmp_path, post(client, [{"of": "test", "n": 1}]))
    path.rename(path.with_name("rotated.ndjson"))
    post(client, [{"of": "test", "n": 2}])
    assert [entry["data"]["n"] for entry in found(client, "of", "test")] == [2, 1]
    assert len(path.read_bytes().splitlines()) == 1


def test_renamed_file_keeps_its_entries(client: httpx.Client, tmp_path: Path) -> None:
    """The entries of a file that was renamed soon have its new name, and are not duplicated."""
    path = log_file(tmp_path, post(client, [{"of": "test", "n": 1}]))
    path.rename(path.with_name("rotated.ndjson"))
    wait_until(
        lambda: (
            [entry["sourceFile"] for entry in found(client, "of", "test")]
            == ["ingest/backend-api/rotated.ndjson"]
        )
    )


def test_deleted_file(client: httpx.Client, tmp_path: Path) -> None:
    """A file deleted between two requests: the next record is found, in a new one."""
    path = log_file(tmp_path, post(client, [{"n": 1}]))
    path.unlink()
    assert post(client, [{"n": 2}]).status_code == 200
    assert len(found(client, "n", "2")) == 1
    assert len(path.read_bytes().splitlines()) == 1


def test_deleted_file_keeps_its_entries(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """The entries of a file that was deleted stay."""
    client = connect(serve(ingest_producers=PRODUCERS, ingest_interval_ms=250), headers=BACKEND)
    path = log_file(tmp_path, post(client, [{"of": "test", "n": 1}]))
    path.unlink()
    runs = runs_of(client)
    wait_until(lambda: runs_of(client) >= runs + 2)  # one of them began after the deletion
    post(client, [{"of": "test", "n": 2}])
    assert [entry["data"]["n"] for entry in found(client, "of", "test")] == [2, 1]


def runs_of(client: httpx.Client) -> int:
    return int(client.get("/health").json()["ingest"]["runs"])


def test_deleted_directory(client: httpx.Client, tmp_path: Path) -> None:
    """A directory deleted between two requests is created again."""
    path = log_file(tmp_path, post(client, [{"n": 1}]))
    shutil.rmtree(tmp_path / "logs" / "ingest")
    assert post(client, [{"n": 2}]).status_code == 200
    assert len(found(client, "n", "2")) == 1
    assert len(path.read_bytes().splitlines()) == 1


def test_truncated_file(client: httpx.Client, tmp_path: Path) -> None:
    """After a copy-truncate between two requests the next record is found at its new line."""
    path = log_file(tmp_path, post(client, [{"n": 1}, {"n": 2}]))
    shutil.copy(path, path.with_suffix(".copy"))
    with path.open("r+b") as file:
        file.truncate()
    assert post(client, [{"n": 3}]).status_code == 200
    assert [entry["lineNumber"] for entry in found(client, "n", "3")] == [1]


def test_many_clients_at_once(server: RunningServer, connect: Connect, tmp_path: Path) -> None:
    """Each of many concurrent clients finds what it sent; no line is lost, duplicated or torn."""

    def send(sender: int) -> list[Path]:
        client = connect(server, headers=(BACKEND, FRONTEND)[sender % 2])
        paths = []
        for number in range(8):
            answer = post(client, [{"mark": f"{sender}-{number}", "pad": "x" * sender * 100}] * 2)
            assert answer.status_code == 200
            assert len(found(client, "mark", f"{sender}-{number}")) == 2
            paths.append(log_file(tmp_path, answer))
        return paths

    with ThreadPoolExecutor(8) as pool:
        paths = {path for paths in pool.map(send, range(8)) for path in paths}
    records = [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]
    marks = sorted(record["mark"] for record in records)
    assert marks == sorted([f"{sender}-{n}" for sender in range(8) for n in range(8)] * 2)


def test_client_that_goes_away(server: RunningServer, client: httpx.Client, tmp_path: Path) -> None:
    """A client that disconnects in mid-body leaves no record, and the server continues."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer backend-token\r\n"
            b'content-length: 500\r\n\r\n[{"n": 1}]'
        )
    path = log_file(tmp_path, post(client, [{"n": 2}]))
    assert len(path.read_bytes().splitlines()) == 1


# --- unusual records ------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OBJECTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    ),
    max_size=6,
)


@settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(record=OBJECTS)
def test_any_record(roomy: httpx.Client, record: dict[str, Any]) -> None:
    """Any object comes back as it was sent, except for the two fields of the server."""
    answer = post(roomy, [record])
    receipt = {"producerId": "backend-api", "ingestedAt": answer.json()["receivedAt"]}
    page = roomy.get("/api/logs", params={"field": "producerId", "value": "backend-api"})
    entries = page.json()["entries"]
    newest = max(entries, key=lambda entry: int(entry["id"]))
    assert newest["data"] == record | receipt


@settings(max_examples=examples(50))
@given(records=st.lists(OBJECTS, max_size=5))
def test_records_are_those_of_their_lines(records: list[dict[str, Any]]) -> None:
    """Records indexed from a request are the same as if they were read from the file."""
    body = json.dumps(records).encode()
    batch = make_batch(body, "p", "2026-02-18T10:20:00.000Z")
    assert batch.records == [parse_line(line)[0] for line in batch.lines.split(b"\n")[:-1]]


def test_lone_surrogates(roomy: httpx.Client) -> None:
    """Half of a surrogate pair, as JavaScript may send it, does not lose the record."""
    answer = roomy.post("/api/ingest", content=rb'[{"mark":"surrogate","text":"a\ud83d"},{"b":1}]')
    assert answer.json()["accepted"] == 2
    (entry,) = found(roomy, "mark", "surrogate")
    assert entry["data"]["text"] == "a\ufffd"


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "9" * 400, "9" * 5000, "1e-999", "123456789012345678901234567890"]
)
def test_huge_numbers(roomy: httpx.Client, number: str) -> None:
    """Numbers out of the range of a float do not lose the record."""
    mark = f"number-{hash(number)}"
    answer = roomy.post("/api/ingest", content=f'[{{"mark":"{mark}","n":{number}}}]')
    assert answer.status_code == 200, answer.text
    assert len(found(roomy, "mark", mark)) == 1


def test_large_integers_keep_their_digits(roomy: httpx.Client) -> None:
    """An integer of more than 64 bits keeps all its digits."""
    digits = "123456789012345678901234567890"
    roomy.post("/api/ingest", content=f'[{{"big":{digits}}}]')
    assert len(found(roomy, "big", digits)) == 1


@pytest.mark.parametrize("depth", [10, 100, 900, 930, 950, 970, 980, 990, 995, 1000, 2000, 100_000])
def test_deep_nesting(roomy: httpx.Client, depth: int) -> None:
    """A deeply nested record is found like any other, or refused with a 400."""
    inner = '{"d":' * depth + "1" + "}" * depth
    answer = roomy.post("/api/ingest", content=f'[{{"mark":"depth-{depth}","inner":{inner}}}]')
    assert answer.status_code in (200, 400), answer.text
    page = roomy.get("/api/logs", params={"field": "mark", "value": f"depth-{depth}"})
    assert page.text.count('"lineNumber"') == (1 if answer.status_code == 200 else 0)


@pytest.mark.parametrize("body", ["[" * 100_000, '[{"a":' * 50_000, '{"logs":' * 2000])
def test_deep_nesting_without_end(roomy: httpx.Client, body: str) -> None:
    """A body of nothing but nesting is a 400."""
    assert roomy.post("/api/ingest", content=body).status_code == 400


def test_key_that_stands_twice(roomy: httpx.Client) -> None:
    """If a key occurs twice the last one counts, also for the keys that the server sets."""
    body = '[{"twice":"one","twice":"two","producerId":"x","producerId":"y"}]'
    roomy.post("/api/ingest", content=body)
    (entry,) = found(roomy, "twice", "two")
    assert entry["data"]["producerId"] == "backend-api"


def test_many_records_at_once(roomy: httpx.Client) -> None:
    """A request may hold as many records as fit; each is indexed."""
    records = [{"batch": "large", "n": number} for number in range(6_000)]
    assert post(roomy, records).json()["accepted"] == 6_000
    parameters = {"groupBy": "level", "field": "batch", "value": "large"}
    buckets = roomy.get("/api/logs/aggregate", params=parameters).json()["buckets"]
    assert buckets == [{"key": "INFO", "count": 6_000}]


@pytest.mark.parametrize("shape", [b"[%b]", b'{"logs": [%b]}'])
def test_more_records_than_a_request_may_hold(roomy: httpx.Client, shape: bytes) -> None:
    """More than 100,000 records are a 413 that says so, however few bytes they are."""
    body = gzip.compress(shape % b",".join([b"{}"] * 100_001))
    answer = roomy.post("/api/ingest", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "Payload too large: 100001 records, send at most 100000 per request"
    )


# --- when writing fails ---------------------------------------------------------------------------


def test_no_way_to_write(client: httpx.Client, tmp_path: Path) -> None:
    """Records that cannot be written are a 503 with the reason; once fixed they are accepted."""
    obstacle = tmp_path / "logs" / "ingest"
    obstacle.write_text("a file where a directory should be")
    answer = post(client, [{"n": 1}])
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "cannot be written" in answer.json()["error"]
    obstacle.unlink()
    assert post(client, [{"n": 1}]).status_code == 200
    assert len(found(client, "n", "1")) == 1


def test_no_way_to_index(client: httpx.Client, tmp_path: Path) -> None:
    """Records that cannot be indexed are a 503 and in no file; sent again, they are found once."""
    path = log_file(tmp_path, post(client, [{"n": 0}]))
    before = path.read_bytes()
    break_index(tmp_path)
    assert post(client, [{"n": 1}]).status_code == 503
    assert path.read_bytes() == before
    repair_index(tmp_path)
    assert post(client, [{"n": 1}]).status_code == 200
    assert len(found(client, "n", "1")) == 1


def break_index(directory: Path) -> None:
    index(directory).execute(
        "CREATE TRIGGER obstacle BEFORE INSERT ON levels BEGIN SELECT RAISE(ABORT, 'broken'); END"
    )


def repair_index(directory: Path) -> None:
    index(directory).execute("DROP TRIGGER obstacle")


def index(directory: Path) -> apsw.Connection:
    connection = apsw.Connection(str(directory / "data" / "mikroscope.db"))
    connection.set_busy_timeout(10_000)
    return connection


def test_defect_while_indexing(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error also gets an answer, a 500; no client waits forever."""

    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(Indexer, "index_now", fail)
        answer = post(client, [{"n": 1}])
    assert answer.status_code == 500
    assert "a defect" not in answer.text
    assert post(client, [{"n": 1}]).status_code == 200
    assert len(found(client, "n", "1")) == 1


# --- the queue ------------------------------------------------------------------------------------


@pytest.fixture
def queued(serve: Serve, connect: Connect) -> httpx.Client:
    """A client of a server that rarely writes its queue."""
    server = serve(
        ingest_producers=PRODUCERS, ingest_async_queue=True, ingest_queue_flush_ms=HOUR_MS
    )
    return connect(server, headers=BACKEND)


@pytest.fixture
def brisk(serve: Serve, connect: Connect) -> httpx.Client:
    """A client of a server with the default queue."""
    return connect(serve(ingest_producers=PRODUCERS, ingest_async_queue=True), headers=BACKEND)


def test_answer_of_a_queued_request(queued: httpx.Client) -> None:
    """With `--ingest-async-queue` the response is a 202 with `queued`."""
    answer = post(queued, [{"a": 1}, "no object"])
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "queued": True,
        "producerId": "backend-api",
        "receivedAt": answer.json()["receivedAt"],
        "rejected": 1,
    }


@pytest.mark.parametrize("payload", [[], [1, 2]])
def test_nothing_to_queue(queued: httpx.Client, payload: object) -> None:
    """If no record is left to be queued, the response is a 200."""
    answer = post(queued, payload)
    assert (answer.status_code, answer.json()["queued"]) == (200, False)


def test_queued_records_are_found_soon(brisk: httpx.Client) -> None:
    """Queued records are written and found after `--ingest-queue-flush-ms`."""
    for number in range(5):
        assert post(brisk, [{"of": "queue", "n": number}]).status_code == 202
    wait_until(lambda: len(found(brisk, "of", "queue")) == 5)


def test_health_of_a_full_queue(queued: httpx.Client) -> None:
    """/health counts pending batches and records."""
    post(queued, [{"a": 1}, {"a": 2}])
    post(queued, [{"a": 3}])
    assert queue_health(queued) == {
        "enabled": True,
        "flushMs": HOUR_MS,
        "draining": False,
        "pendingBatches": 2,
        "pendingRecords": 3,
        "recordsFlushed": 0,
        "recordsQueued": 3,
        "lastError": None,
        "lastFlushAt": None,
    }


def test_health_of_an_emptied_queue(brisk: httpx.Client) -> None:
    """/health counts the records that were written from the queue, and says when."""
    post(brisk, [{"a": 1}, {"a": 2}])
    wait_until(lambda: queue_health(brisk)["recordsFlushed"] == 2)
    health = queue_health(brisk)
    assert (health["pendingBatches"], health["pendingRecords"], health["recordsQueued"]) == (
        0,
        0,
        2,
    )
    assert ISO_TIME.fullmatch(health["lastFlushAt"])


def test_queue_is_drained_at_the_end(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """Records that are queued when the server is closed are written and indexed first."""
    options: dict[str, object] = {"ingest_producers": PRODUCERS, "ingest_async_queue": True}
    with serve(**options, ingest_queue_flush_ms=HOUR_MS) as server:
        client = connect(server, headers=BACKEND)
        answers = [post(client, [{"of": "queue", "n": number}]) for number in range(10)]
        assert not log_file(tmp_path, answers[0]).exists()
    assert len(log_file(tmp_path, answers[0]).read_bytes().splitlines()) == 10
    again = connect(serve(disable_auto_ingest=True))
    assert len(found(again, "of", "queue")) == 10


def test_full_queue(queued: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that holds too much refuses more: 503 with `retry-after`."""
    monkeypatch.setattr("mikroscope.indexing.ingest_queue.MAX_PENDING_BYTES", 800)
    answers = [post(queued, [{"pad": "x" * 400}]) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 503, 503]
    assert answers[-1].headers["retry-after"] == "1"
    assert "full" in answers[-1].json()["error"]
    assert queue_health(queued)["recordsQueued"] == 2


def test_queue_that_cannot_be_written(brisk: httpx.Client, tmp_path: Path) -> None:
    """Queued records that cannot be written wait and are tried again; /health says why."""
    obstacle = tmp_path / "logs" / "ingest"
    obstacle.write_text("a file where a directory should be")
    assert post(brisk, [{"of": "queue"}]).status_code == 202
    wait_until(lambda: queue_health(brisk)["lastError"])
    assert queue_health(brisk)["pendingRecords"] == 1
    obstacle.unlink()
    wait_until(lambda: found(brisk, "of", "queue"))
    assert queue_health(brisk)["lastError"] is None


def test_queue_that_cannot_be_indexed(brisk: httpx.Client, tmp_path: Path) -> None:
    """Queued records that cannot be indexed are in their file, and found once that is fixed."""
    break_index(tmp_path)
    path = log_file(tmp_path, post(brisk, [{"of": "queue"}]))
    wait_until(lambda: brisk.get("/health").json()["ingest"]["lastError"])
    assert len(path.read_bytes().splitlines()) == 1
    repair_index(tmp_path)
    wait_until(lambda: len(found(brisk, "of", "queue")) == 1)
    assert len(path.read_bytes().splitlines()) == 1


@pytest.mark.usefixtures("impatient_stop")
def test_stop_while_nothing_can_be_written(
    serve: Serve, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop ends even if the queue cannot be written; the log says how many records are lost."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "ingest").write_text("a file where a directory should be")
    with serve(ingest_producers=PRODUCERS, ingest_async_queue=True) as server:
        client = connect(server, headers=BACKEND)
        post(client, [{"a": 1}, {"a": 2}])
        wait_until(lambda: queue_health(client)["lastError"])
        refused = client.post("/api/ingest", json=[{"a": 3}])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert any("2 queued records are lost" in text for text in error_texts(caplog))


def test_stop_while_nothing_can_be_indexed(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A stop while the index is broken leaves queued records in their file, for the next start."""
    options: dict[str, object] = {"ingest_producers": PRODUCERS, "ingest_async_queue": True}
    with serve(**options, ingest_queue_flush_ms=HOUR_MS) as server:
        client = connect(server, headers=BACKEND)
        break_index(tmp_path)
        post(client, [{"of": "queue"}])
    repair_index(tmp_path)
    again = connect(serve())
    wait_until(lambda: len(found(again, "of", "queue")) == 1)


def error_texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.ERROR]
