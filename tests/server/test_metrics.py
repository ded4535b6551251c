"""`/metrics` reports correct figures in Prometheus' format."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from mikroscope.server.exposition import exposition
from mikroscope.server.health import health
from mikroscope.server.metrics import BOUNDS_S, Metrics
from mikroscope.server.routes.admin import is_loopback
from tests.helpers.server import Connect, Serve, has_ipv6
from tests.helpers.waiting import wait_until

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(client: httpx.Client) -> Figures:
    """Return every sample by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


def parsed(text: str) -> Figures:
    """Parse a response with Prometheus' own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def plain(found: Figures, name: str, **labels: str) -> float:
    """Return one MikroScope sample."""
    return found[f"mikroscope_{name}", frozenset(labels.items())]


def test_ingest_and_index(serve: Serve, connect: Connect) -> None:
    """The metrics count records, bytes, lines and entries."""
    client = connect(serve(ingest_producers="t=p"))
    content = b'[{"a":1},{"a":2},3]'
    client.post("/api/ingest", content=content, headers={"authorization": "Bearer t"})
    found = figures(client)
    assert plain(found, "ingest_records_total", outcome="accepted") == 2
    assert plain(found, "ingest_records_total", outcome="rejected") == 1
    assert plain(found, "ingest_bytes_total") == len(content)
    assert plain(found, "index_records_total") == 2
    assert plain(found, "index_parse_errors_total") == 0
    assert plain(found, "index_unreadable_timestamps_total") == 0
    assert plain(found, "index_failing") == 0
    assert plain(found, "up") == 1
    assert plain(found, "index_size_bytes") > 0
    assert plain(found, "storage_free_bytes", of="logs") > 0


def test_names_and_types(serve: Serve, connect: Connect) -> None:
    """The metrics keep the names and types on which dashboards and alert rules rely."""
    text = connect(serve()).get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name: kind for name, kind in types.items() if kind == "histogram"} == {
        "mikroscope_http_request_duration_seconds": "histogram"
    }
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }
    assert len(types) == 28


def test_start_without_prometheus() -> None:
    """A server loads the Prometheus library only when `/metrics` is asked for, and no YAML."""
    code = (
        "import sys, mikroscope.server.run; print({'prometheus_client', 'yaml'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_process(serve: Serve, connect: Connect) -> None:
    """The process metrics have the names of every Prometheus client library."""
    found = figures(connect(serve()))
    nothing: frozenset[tuple[str, str]] = frozenset()
    assert found["process_resident_memory_bytes", nothing] > 1_000_000
    assert found["process_cpu_seconds_total", nothing] > 0
    assert found["process_start_time_seconds", nothing] > 1.7e9


def test_requests(serve: Serve, connect: Connect) -> None:
    """Requests are counted by method, route and status class; unknown routes share one label."""
    client = connect(serve())
    for path in ("/api/logs", "/api/logs", "/api/logs?limit=x", "/a", "/b", "/c"):
        client.get(path)
    client.request("PATCH", "/a")
    found = figures(client)
    name = "http_request_duration_seconds_count"
    assert plain(found, name, method="GET", route="/api/logs", status="2xx") == 2
    assert plain(found, name, method="GET", route="/api/logs", status="4xx") == 1
    assert plain(found, name, method="GET", route="other", status="4xx") == 3
    assert plain(found, name, method="PATCH", route="other", status="4xx") == 1


@pytest.mark.usefixtures("impatient_stop")
def test_what_goes_wrong(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A failing queue sets its metric to 1 and `up` to 0."""
    client = connect(serve(ingest_producers="t=p", ingest_async_queue=True))
    (tmp_path / "logs" / "ingest").write_text("a file where a directory should be")
    client.post("/api/ingest", json=[{}], headers={"authorization": "Bearer t"})
    wait_until(lambda: plain(figures(client), "ingest_queue_failing") == 1)
    found = figures(client)
    assert plain(found, "up") == 0
    assert plain(found, "ingest_queue_records") == 1


def test_loopback_needs_no_credentials(serve: Serve, connect: Connect) -> None:
    """A client on this machine needs no credentials, even if the API requires them."""
    client = connect(serve(api_token="secret"))
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/logs").status_code == 401


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_loopback_by_ipv4_of_a_server_on_ipv6(serve: Serve, connect: Connect) -> None:
    """A server on `::` also accepts IPv4, and treats this machine as local by both protocols."""
    client = connect(serve(api_token="secret", host="::"))
    assert client.base_url.host == "127.0.0.1"
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_machine_needs_credentials(
    header: str, serve: Serve, connect: Connect
) -> None:
    """Forwarded requests of a proxy on this machine need credentials."""
    client = connect(serve(api_token="secret"), headers={header: "192.0.2.1"})
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)),
        *(("::ffff:127.0.0.1", True), ("::ffff:192.0.2.1", False)),
        *(("192.0.2.1", False), ("2001:db8::1", False), ("nonsense", False)),
    ],
)
def test_who_is_loopback(host: str, expected: bool) -> None:
    """The peer address of the connection decides, whatever the headers say."""
    headers = [(b"x-forwarded-for", b"127.0.0.1")]
    scope = {"type": "http", "client": (host, 1), "headers": headers}
    assert is_loopback(Request(scope)) is expected


def test_histogram(serve: Serve, connect: Connect) -> None:
    """A bucket counts all requests up to its bound; the last one counts all."""
    metrics = Metrics('a "b" \\ c', 1.0)
    for seconds in (0.001, 0.0011, 0.3, 99.0):
        metrics.observe("GET", "/api/logs", 200, seconds)
    server = serve()
    text = exposition(health(server._sidecar), metrics.snapshot()).decode()
    found = parsed(text)
    labels = {"method": "GET", "route": "/api/logs", "status": "2xx"}
    name = "http_request_duration_seconds"
    counts = [plain(found, f"{name}_bucket", **labels, le=str(bound)) for bound in BOUNDS_S]
    assert counts[0] == 1
    assert counts[1] == 2
    assert counts[-1] == 3
    assert plain(found, f"{name}_bucket", **labels, le="+Inf") == 4
    assert plain(found, f"{name}_count", **labels) == 4
    assert plain(found, f"{name}_sum", **labels) == pytest.approx(99.3021)
    assert plain(found, "build_info", version='a "b" \\ c') == 1
