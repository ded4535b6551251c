"""A running server answers any request as its OpenAPI document says."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mikroscope import RunningServer, start_server
from mikroscope.server.app import OPERATIONS
from mikroscope.server.openapi.document import make_document
from mikroscope.server.openapi.model import Operation
from tests.helpers.forms import examples
from tests.helpers.server import settings_in
from tests.helpers.waiting import DEADLINE_S

pytestmark = pytest.mark.long
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TOKENS = {"anybody": None, "api": "api", "producer": "producer"}
NAME = attrgetter("name")
GUARDED = [operation for operation in OPERATIONS if operation.access != "anybody"]
MADE_UP = settings(
    max_examples=examples(20),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
PATHS = sorted({operation.path for operation in OPERATIONS})


class Document:
    """Our OpenAPI document, as schemathesis reads it.

    Only here is it imported: it takes most of a second, which runs without these tests need not.
    """

    def __init__(self) -> None:
        import schemathesis
        from schemathesis.specs.openapi import checks

        self._schema = schemathesis.openapi.from_dict(make_document(OPERATIONS))
        self._modes = {mode.value: mode for mode in schemathesis.GenerationMode}
        self._checks = [
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
        ]

    def requests(self, operation: Operation, mode: str) -> st.SearchStrategy[Any]:
        """Return requests that are documented ("positive") or wrong ("negative")."""
        described = self._schema[operation.path][operation.method]
        return described.as_strategy(generation_mode=self._modes[mode])

    def send(self, request: Any, server: RunningServer, headers: dict[str, str]) -> Any:
        """Send a generated request, hold its answer to the document, and return it."""
        answer = request.call(base_url=server.url, headers=headers)
        request.validate_response(answer, checks=self._checks)
        return answer

    def hold(self, operation: Operation, answer: httpx.Response) -> None:
        """Hold the answer to a request of our own to the document."""
        self._schema[operation.path][operation.method].validate_response(answer)


@pytest.fixture(scope="module")
def document() -> Document:
    return Document()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with credentials of each kind and some logs."""
    options = settings_in(
        tmp_path_factory.mktemp("fuzz"),
        api_token="api",
        ingest_producers="producer=app",
        alert_webhook_retry_attempts=1,
        alert_webhook_timeout_ms=250,
    )
    with start_server(options) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    """One connection for all requests."""
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


def authorization(operation: Operation) -> dict[str, str]:
    """Return the credentials that an operation requires."""
    token = TOKENS[operation.access]
    return {"Authorization": f"Bearer {token}"} if token else {}


def fuzz(
    document: Document,
    server: RunningServer,
    operation: Operation,
    mode: str,
    token: dict[str, str],
) -> None:
    """Send generated requests, and compare the responses with the document."""

    @MADE_UP
    @given(case=document.requests(operation, mode))
    def send(case: Any) -> None:
        answer = document.send(case, server, token)
        assert answer.status_code < 500, answer.text
        assert answer.status_code != 401 or not token

    send()


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=NAME)
def test_answers_are_as_documented(
    operation: Operation, mode: str, document: Document, server: RunningServer
) -> None:
    """Good and bad requests get an answer with a documented status, type, headers and schema."""
    if mode == "negative" and not (operation.parameters or operation.payload):
        return  # nothing can be wrong with it
    fuzz(document, server, operation, mode, authorization(operation))


@pytest.mark.parametrize("operation", GUARDED, ids=NAME)
def test_answers_without_credentials(
    operation: Operation, document: Document, server: RunningServer
) -> None:
    """Without credentials every request is answered as documented, too."""
    fuzz(document, server, operation, "positive", {})


@pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS if operation.payload], ids=NAME
)
def test_any_bytes(operation: Operation, document: Document, client: httpx.Client) -> None:
    """A body of any bytes is answered with a documented status and schema."""
    headers = authorization(operation)

    @MADE_UP
    @given(
        body=st.binary() | st.from_regex(rb'[\[{]["\\\[{\]},:0-9a-z]*[\]}]', fullmatch=True),
        encoding=st.sampled_from([{}, {"content-encoding": "gzip"}, {"content-encoding": "br"}]),
    )
    def send(body: bytes, encoding: dict[str, str]) -> None:
        answer = client.request(
            operation.method, operation.path, content=body, headers=headers | encoding
        )
        assert answer.status_code < 500, answer.text
        document.hold(operation, answer)

    send()


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAME)
def test_any_query(operation: Operation, document: Document, client: httpx.Client) -> None:
    """A query of any text is answered with a documented status and schema."""
    headers = authorization(operation)
    names = st.sampled_from([*(parameter.name for parameter in operation.parameters), "other"])

    @MADE_UP
    @given(st.dictionaries(names, st.text(st.characters(codec="utf-8"))))
    def send(parameters: dict[str, str]) -> None:
        answer = client.request(
            operation.method, operation.path, params=parameters, content=b"[]", headers=headers
        )
        assert answer.status_code < 500, answer.text
        document.hold(operation, answer)

    send()


@pytest.mark.parametrize(
    "operation",
    [one for one in GUARDED if one.path != "/metrics"],  # which loopback needs none for
    ids=NAME,
)
@pytest.mark.parametrize(
    "credentials", ["", "Bearer wrong", "Basic wrong", "Basic d3Jvbmc6OndybyA="]
)
def test_wrong_credentials(
    operation: Operation, credentials: str, document: Document, client: httpx.Client
) -> None:
    """Without the right credentials the answer is 401, as documented, whatever is sent."""
    headers = {b"authorization": credentials.encode("latin-1")} if credentials else {}
    answer = client.request(operation.method, operation.path, headers=headers, content=b"[{}]")
    assert answer.status_code == 401
    document.hold(operation, answer)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_other_methods(path: str, method: str, client: httpx.Client) -> None:
    """A method that is not documented is answered with 405 and those that are, in `allow`."""
    documented = {operation.method for operation in OPERATIONS if operation.path == path}
    taken = documented | ({"HEAD"} if "GET" in documented else set())
    answer = client.request(method, path)
    if method == "OPTIONS":
        assert answer.status_code == 204
    elif method not in taken:
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == taken
    elif method == "HEAD":
        assert answer.status_code in {404 if path == "/" else 200, 401}
        assert answer.content == b""
