"""Credentials: which requests the server accepts, and as which producer."""

import base64

import httpx
import pytest

from tests.helpers.server import BASIC, PRODUCERS, TOKEN, Connect, Serve

API_ROUTES = ["/api/logs", "/api/logs/aggregate?groupBy=level", "/api/alerts/config"]


def basic(text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    return f"Basic {base64.b64encode(content).decode()}"


@pytest.mark.parametrize("route", API_ROUTES)
def test_open_api(shared: httpx.Client, route: str) -> None:
    """Without credentials in the configuration anyone may query, also if producers have tokens."""
    assert shared.get(route).status_code == 200
    assert shared.get(route, headers={"authorization": "Bearer anything"}).status_code == 200


CREDENTIALS = {
    "none": None,
    "token": "Bearer api-token-123",
    "token, other case of the scheme": "bearer api-token-123",
    "another token": "Bearer api-token-124",
    "part of the token": "Bearer api-token-12",
    "producer's token": "Bearer backend-token",
    "user": basic("ops:pass:word"),
    "wrong password": basic("ops:password"),
    "wrong user": basic("Ops:pass:word"),
    "no colon": basic("ops"),
    "no UTF-8": basic(b"\xff:\xff"),
    "no base64": "Basic !!!",
    "no scheme": "api-token-123",
    "nothing but a scheme": "Basic",
}


OPENED_BY = {
    "token": (TOKEN, {"token", "token, other case of the scheme"}),
    "user": (BASIC, {"user"}),
    "token or user": (TOKEN | BASIC, {"token", "token, other case of the scheme", "user"}),
}


@pytest.mark.parametrize("case", OPENED_BY)
def test_credentials_of_the_api(serve: Serve, connect: Connect, case: str) -> None:
    """The API token, the Basic user, or either of them opens the query routes, and nothing else."""
    options, good = OPENED_BY[case]
    client = connect(serve(**options, **PRODUCERS))
    for route in API_ROUTES:
        statuses = {
            name: client.get(route, headers={"authorization": value} if value else {}).status_code
            for name, value in CREDENTIALS.items()
        }
        assert {name for name, status in statuses.items() if status == 200} == good
        assert set(statuses.values()) == {200, 401}


@pytest.mark.parametrize(
    ("options", "good"),
    [
        (PRODUCERS, {"producer's token"}),
        (PRODUCERS | TOKEN, {"producer's token"}),
        (BASIC, {"user"}),
        (PRODUCERS | TOKEN | BASIC, {"producer's token", "user"}),
    ],
)
def test_credentials_of_ingest(
    serve: Serve, connect: Connect, options: dict[str, object], good: set[str]
) -> None:
    """Producers' tokens and the Basic user may send logs; the API token may not."""
    client = connect(serve(**options))
    statuses = {
        name: client.post(
            "/api/ingest", json=[], headers={"authorization": value} if value else {}
        ).status_code
        for name, value in CREDENTIALS.items()
    }
    assert {name for name, status in statuses.items() if status == 200} == good
    assert set(statuses.values()) == {200, 401}


@pytest.mark.parametrize(
    ("options", "challenge"),
    [
        (TOKEN, 'Bearer realm="mikroscope"'),
        (BASIC, 'Basic realm="mikroscope"'),
        (TOKEN | BASIC, 'Bearer realm="mikroscope", Basic realm="mikroscope"'),
    ],
)
def test_challenge(
    serve: Serve, connect: Connect, options: dict[str, object], challenge: str
) -> None:
    """A 401 names every accepted scheme in `www-authenticate`."""
    answer = connect(serve(**options)).get("/api/logs")
    assert answer.headers["www-authenticate"] == challenge


BEARER = "'Authorization: Bearer …'"
PRODUCER = "Bearer backend-token"
API_TOKEN = "the API token (--api-token)"
USER = "Basic auth (--auth-username, --auth-password)"


@pytest.mark.parametrize(
    ("options", "authorization", "text"),
    [
        (TOKEN, None, f"No credentials. Use {API_TOKEN} in {BEARER}"),
        (TOKEN, "Bearer x", f"Wrong credentials. Use {API_TOKEN} in {BEARER}"),
        (BASIC, basic("ops:x"), f"Wrong credentials. Use {USER}"),
        (TOKEN | BASIC, "", f"No credentials. Use {API_TOKEN} in {BEARER} or {USER}"),
        (TOKEN, PRODUCER, f"This token may send logs but not query. Use {API_TOKEN}"),
        (BASIC, PRODUCER, f"This token may send logs but not query. Use {USER}"),
    ],
)
def test_text_of_a_refusal(
    serve: Serve,
    connect: Connect,
    options: dict[str, object],
    authorization: str | None,
    text: str,
) -> None:
    """A 401 of the API says what is wrong and which credentials to use; so for a producer."""
    headers = {} if authorization is None else {"authorization": authorization}
    answer = connect(serve(**options, **PRODUCERS)).get("/api/logs", headers=headers)
    assert answer.json() == {"error": f"Unauthorized: {text}"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (PRODUCERS | TOKEN, "Use a producer token (--ingest-producers)"),
        (BASIC | TOKEN, f"Use {USER}"),
        (PRODUCERS | BASIC | TOKEN, f"Use a producer token (--ingest-producers) or {USER}"),
    ],
)
def test_api_token_at_ingest(
    serve: Serve, connect: Connect, options: dict[str, object], text: str
) -> None:
    """A client that sends logs with the API token learns that it needs another one."""
    headers = {"authorization": "Bearer api-token-123"}
    answer = connect(serve(**options)).post("/api/ingest", json=[], headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": f"Unauthorized: This token may query but not send. {text}"}


def test_health_needs_no_credentials(serve: Serve, connect: Connect) -> None:
    """/health needs no credentials and shows no secret."""
    webhook = "https://hooks.example/key-in-url"
    answer = connect(serve(**TOKEN, **BASIC, **PRODUCERS, alert_webhook_url=webhook)).get("/health")
    assert answer.status_code == 200
    for secret in ("api-token-123", "pass:word", "backend-token", "key-in-url"):
        assert secret not in answer.text
