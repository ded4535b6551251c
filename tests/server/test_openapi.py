"""The OpenAPI document is that of the routes, and that of every server."""

import importlib.resources
import json
import re
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml

from mikroscope import RunningServer, __version__
from mikroscope.ingest.native import make_batch
from mikroscope.query.model import DEFAULT_LIMIT
from mikroscope.server.app import OPERATIONS
from mikroscope.server.openapi.document import make_document
from tests.helpers.paths import ROOT
from tests.helpers.server import Connect, Serve, routes_of

FILES = ROOT / "openapi"
DOCUMENT = make_document(OPERATIONS)
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(name: str) -> Any:
    """Return a checker of values against one of the document's schemas."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def references(value: object) -> set[str]:
    """Yield every $ref below a value."""
    if isinstance(value, dict):
        found = {value["$ref"]} if "$ref" in value else set()
        return found.union(*(references(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(references(item) for item in value))
    return set()


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    """A server with credentials of each kind."""
    return serve(api_token="api", ingest_producers="producer=app")


def test_every_route_has_its_document(server: RunningServer) -> None:
    """The routes of the server are the paths of the document, with the same methods."""
    served = {route.path: (route.methods or set()) - {"HEAD"} for route in routes_of(server)}
    documented = {
        path: {method.upper() for method in operations}
        for path, operations in DOCUMENT["paths"].items()
    }
    assert served == documented


def test_operations_have_names_of_their_own() -> None:
    """No two operations have the same name or the same method and path."""
    names = {operation.name for operation in OPERATIONS}
    places = {(operation.method, operation.path) for operation in OPERATIONS}
    assert len(names) == len(places) == len(OPERATIONS)


def test_operations_have_the_names_of_the_original() -> None:
    """Generated clients keep the names of their methods."""
    names = {operation.name for operation in OPERATIONS}
    assert names >= {"getHealth", "ingestLogs", "getAlertConfig", "reindexLogs"}
    assert names >= {"queryLogs", "aggregateLogs"}


def test_form_of_the_files() -> None:
    """The version is where clients of the original look for it."""
    assert (FILES / "openapi.yaml").read_text().startswith("openapi: 3.1.0\n")
    assert '"openapi": "3.1.0"' in (FILES / "openapi.json").read_text()


def test_forms_of_ingest() -> None:
    """The document names both forms of a body; each example is accepted."""
    content = DOCUMENT["paths"]["/api/ingest"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-ndjson"}
    for media, form in content.items():
        example = form["example"]
        body = example.encode() if isinstance(example, str) else json.dumps(example).encode()
        assert make_batch(body, "p", "2026-02-18T10:20:00.000Z", media).accepted == 1


@pytest.mark.parametrize(
    ("body", "fits"),
    [([{}], True), ({"logs": []}, True), ({"a": 1}, True), ({}, False), ({"logs": 1}, False)],
)
def test_schema_of_an_ingest_body(body: object, fits: bool) -> None:
    """The schema takes arrays, `logs` and single records, as the server does."""
    assert validator("IngestBody").is_valid(body) == fits


def test_references_lead_somewhere() -> None:
    """Every $ref names a schema of the document, and every schema is used."""
    used = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert used == set(SCHEMAS)


def test_schemas_are_json_schema() -> None:
    """The schemas of the document are JSON Schema, as OpenAPI 3.1 asks."""
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def test_version() -> None:
    """The document has the version of the package."""
    assert DOCUMENT["info"]["version"] == __version__


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
def test_files_are_current(name: str, server: RunningServer, connect: Connect) -> None:
    """A server serves the file in the repository, which is the document: `make openapi`."""
    content = (FILES / name).read_bytes()
    assert yaml.safe_load(content) == DOCUMENT  # JSON is YAML
    assert connect(server).get(f"/{name}").content == content


def test_packaged_files() -> None:
    """The files of the package are those of the repository, so an installed server has them."""
    packaged = importlib.resources.files("mikroscope.server") / "static"
    for name in ("openapi.json", "openapi.yaml"):
        assert (packaged / name).read_bytes() == (FILES / name).read_bytes()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/openapi.json", "application/json; charset=utf-8"),
        ("/openapi.yaml", "application/yaml; charset=utf-8"),
    ],
)
def test_documents_need_no_credentials(
    path: str, content_type: str, server: RunningServer, connect: Connect
) -> None:
    """The document is open to all."""
    answer = connect(server).get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)


def test_document_tells_no_host() -> None:
    """The document does not depend on the server's host."""
    assert DOCUMENT["servers"] == [{"url": "/"}]
    assert not re.search(rb"https?://", (FILES / "openapi.json").read_bytes())


def test_default_limit_is_the_real_one() -> None:
    """The document has the default that queries have."""
    (limit,) = (
        parameter
        for parameter in DOCUMENT["paths"]["/api/logs"]["get"]["parameters"]
        if parameter["name"] == "limit"
    )
    assert limit["schema"]["default"] == DEFAULT_LIMIT


def test_fields_left_out_are_not_null() -> None:
    """A field that is left out where there is none is not said to be null, nor required."""
    page = SCHEMAS["Page"]
    assert page["properties"]["nextCursor"] == {"type": "string"}
    assert "nextCursor" not in page["required"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 400),
        ({"windowMinutes": 0}, 400),
        ({"windowMinutes": 1}, 200),
        ({"intervalMs": 999}, 400),
        ({"webhookTimeoutMs": "250"}, 400),
        ({"windowMinutes": 7.0}, 200),
        ({"windowMinutes": 7.5}, 400),
        ({"windowMinutes": 1e300}, 400),
        ({"unknown": 1}, 400),
        ({"webhookUrl": None}, 200),
        ({"errorThreshold": 7, "cooldownMs": 1000}, 200),
    ],
)
def test_schema_of_a_policy_change(
    change: dict[str, object], status: int, server: RunningServer, connect: Connect
) -> None:
    """The schema of a change accepts what the server accepts."""
    client = connect(server, headers={"Authorization": "Bearer api"})
    assert client.put("/api/alerts/config", json=change).status_code == status
    assert validator("PolicyChange").is_valid(change) == (status == 200)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_examples_are_valid(operation: Any) -> None:
    """The example of a body fits its schema."""
    if operation.payload is not None:
        validator(operation.payload.schema).validate(operation.payload.example)


def test_answers_fit_their_schemas(server: RunningServer, connect: Connect) -> None:
    """Complete answers match their schemas."""
    client = connect(server, headers={"Authorization": "Bearer api"})
    sent = [{"level": "INFO", "message": "a"}, {"level": "INFO", "message": "b"}]
    producer = {"Authorization": "Bearer producer"}

    def check(name: str, answer: httpx.Response) -> None:
        validator(name).validate(answer.json())

    check("IngestResponse", client.post("/api/ingest", json=sent, headers=producer))
    page = client.get("/api/logs?limit=1")
    assert "nextCursor" in page.json()
    check("Page", page)
    check("Aggregate", client.get("/api/logs/aggregate?groupBy=field&groupField=level"))
    check("AlertConfigResponse", client.get("/api/alerts/config"))
    check(
        "AlertConfigResponse",
        client.put("/api/alerts/config", json={"webhookUrl": "http://a.invalid"}),
    )
    check("Health", client.get("/health"))
    check("ErrorResponse", client.get("/api/logs?limit=no"))
