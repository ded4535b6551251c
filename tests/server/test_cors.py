"""CORS headers are on every response, and preflight requests are answered."""

import httpx
import pytest

from tests.helpers.server import TOKEN, Connect, Serve

ROUTES = ["/health", "/api/ingest", "/api/logs", "/api/logs/aggregate", "/api/alerts/config"]


PAGE = {"origin": "http://127.0.0.1:4320"}


@pytest.fixture
def strict(serve: Serve, connect: Connect) -> httpx.Client:
    """A client of a server that allows two origins."""
    origins = "http://127.0.0.1:4320, https://console.example"
    return connect(serve(**TOKEN, cors_allow_origin=origins))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/api/logs?limit=x", 400),
        ("POST", "/api/ingest", 401),
        ("DELETE", "/api/logs", 405),
        ("OPTIONS", "/api/logs", 204),
    ],
)
def test_cors_for_any_origin(shared: httpx.Client, method: str, path: str, status: int) -> None:
    """Every response, errors too, has the CORS headers; by default any origin is allowed."""
    answer = shared.request(method, path, headers=PAGE)
    assert answer.status_code == status
    cors = {name: value for name, value in answer.headers.items() if name.startswith("access-")}
    assert cors == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET,POST,PUT,OPTIONS",
        "access-control-allow-headers": "authorization,content-type",
        "access-control-max-age": "600",
    }


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4320", "https://console.example"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_listed_origin(strict: httpx.Client, method: str, origin: str) -> None:
    """With an allow list, a response names the origin if it is listed, and varies by it."""
    answer = strict.request(method, "/api/logs", headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("headers", [{}, {"origin": "http://127.0.0.1"}, {"origin": "null"}])
def test_other_origin(strict: httpx.Client, headers: dict[str, str]) -> None:
    """With an allow list, other origins are not named; the response varies all the same."""
    answer = strict.get("/health", headers=headers)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_preflight(serve: Serve, connect: Connect) -> None:
    """OPTIONS on any route gets 204 without content, and needs no credentials."""
    client = connect(serve(**TOKEN))
    for path in ROUTES:
        answer = client.options(path, headers=PAGE)
        assert (answer.status_code, answer.content) == (204, b"")


def test_preflight_of_no_route(shared: httpx.Client) -> None:
    """OPTIONS on an unknown path gets 404."""
    assert shared.options("/nowhere", headers=PAGE).status_code == 404
