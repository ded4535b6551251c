"""Paths: a trailing slash changes nothing, and `/` leads to the documentation."""

import httpx
import pytest

from mikroscope.server.app import OPERATIONS
from tests.helpers.server import BASIC, PRODUCERS, TOKEN, Connect, Serve

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PATHS = sorted({operation.path for operation in OPERATIONS} - {"/"})
CHANGING = ("date", "content-length", "x-request-id")  # headers


def same(one: httpx.Response, other: httpx.Response) -> bool:
    """Return whether two responses have the same status and headers."""
    shown = [
        (answer.status_code, [pair for pair in answer.headers.items() if pair[0] not in CHANGING])
        for answer in (one, other)
    ]
    return shown[0] == shown[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
def test_trailing_slash(shared: httpx.Client, path: str, method: str) -> None:
    """With a trailing slash, every route and method has the answer that it has without."""
    plain, slash = shared.request(method, path), shared.request(method, f"{path}/")
    assert same(plain, slash)
    assert plain.status_code != 404


def test_trailing_slash_before_a_query(shared: httpx.Client) -> None:
    """The query string behind a trailing slash counts as ever."""
    assert shared.get("/api/logs/?limit=7").json()["limit"] == 7
    assert shared.get("/api/logs/?limit=0").status_code == 400
    assert shared.get("/api/logs/?nothing=7").status_code == 400


def test_trailing_slash_of_ingest(shared: httpx.Client) -> None:
    """Logs can be sent to the path with a slash."""
    headers = {"authorization": "Bearer backend-token"}
    answer = shared.post("/api/ingest/", json=[{"message": "slash"}], headers=headers)
    assert answer.json()["accepted"] == 1


def test_trailing_slash_needs_credentials(serve: Serve, connect: Connect) -> None:
    """A path with a trailing slash needs the same credentials."""
    client = connect(serve(**TOKEN, **PRODUCERS))
    for path in ("/api/logs/", "/api/alerts/config/"):
        assert client.get(path).status_code == 401
    assert client.post("/api/ingest/", json=[]).status_code == 401


def test_trailing_slash_is_counted_with_its_route(shared: httpx.Client) -> None:
    """Metrics count a request with a trailing slash under its route."""
    shared.get("/ready/")
    assert 'route="/ready"' in shared.get("/metrics").text


@pytest.mark.parametrize("path", ["/api/logs//", "/docs//", "/docs/scalar.js/x", "/api//logs"])
def test_other_slashes(shared: httpx.Client, path: str) -> None:
    """Any other slash more makes another path, which is unknown."""
    assert shared.get(path, headers=BROWSER).status_code == 404


@pytest.mark.parametrize(
    "accept", [BROWSER["accept"], "text/html", "TEXT/HTML;level=1", "*/*;q=0.1, text/html ;q=0.5"]
)
def test_root_for_browsers(serve: Serve, connect: Connect, accept: str) -> None:
    """A client whose `accept` names text/html is led to `/docs`, without credentials."""
    client = connect(serve(**TOKEN, **BASIC))
    answer = client.get("/", headers={"accept": accept})
    assert answer.status_code == 307
    assert answer.next_request is not None
    assert answer.next_request.url.path == "/docs"
    page = client.get("/", headers={"accept": accept}, follow_redirects=True)
    assert "text/html" in page.headers["content-type"]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/*", "text/html;q=0"])
def test_root_for_others(shared: httpx.Client, accept: str | None) -> None:
    """Other clients get a 404 that names `/docs`."""
    headers = {} if accept is None else {"accept": accept}
    answer = shared.get("/", headers=headers)
    assert answer.status_code == 404
    assert answer.json() == {"error": 'Nothing at "/". API reference: /docs'}


def test_other_methods_at_the_root(shared: httpx.Client) -> None:
    """`/` is a route like the others: HEAD, OPTIONS and 405."""
    assert shared.head("/", headers=BROWSER).status_code == 307
    assert shared.options("/").status_code == 204
    answer = shared.post("/", json=[])
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
