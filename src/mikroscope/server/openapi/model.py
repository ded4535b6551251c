"""The table of the HTTP API: each operation with its documentation. The routes are made from it."""

from typing import Any, Literal

import msgspec

from mikroscope.query.model import Aggregate, Page
from mikroscope.query.parameters import (
    CURSOR,
    FILTERS,
    GROUPING,
    LIMIT,
    PARAMETERS,
    Kind,
    QueryParameter,
)
from mikroscope.server.schemas import (
    AlertConfigResponse,
    ErrorResponse,
    Health,
    IngestResponse,
    ReindexResponse,
    WebhookTestResponse,
)

JSON = "application/json"
YAML = "application/yaml"
HTML = "text/html"
TEXT = "text/plain"
SCRIPT = "text/javascript"

Access = Literal["anybody", "api", "producer"]
Schema = dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """One status of an operation: what it means, and its body as a type or a JSON schema."""

    meaning: str
    body: Any = ErrorResponse
    media: str = JSON
    headers: tuple[str, ...] = ()


class Parameter(msgspec.Struct, frozen=True):
    """One parameter, of the query if nothing else is said."""

    name: str
    meaning: str
    schema: Schema
    required: bool = False
    place: Literal["query", "header"] = "query"


class Payload(msgspec.Struct, frozen=True):
    """What is sent to an operation; the schema names one of `openapi.payloads`."""

    schema: str
    example: Any
    required: bool = True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    method: str
    path: str
    name: str
    tag: str
    access: Access
    summary: str
    text: str = ""
    parameters: tuple[Parameter, ...] = ()
    payload: Payload | None = None
    answers: dict[int, Answer]


# --- what several operations have in common -------------------------------------------------

_TEXT: Schema = {"type": "string"}
_BAD_QUERY = Answer("A parameter cannot be read; the text names it and says what was expected.")
_NO_API = Answer(
    "The API token, or the Basic auth user, is missing or wrong.", headers=("WWW-Authenticate",)
)
_NO_PRODUCER = Answer(
    "A producer's token, or the Basic auth user, is missing or wrong.",
    headers=("WWW-Authenticate",),
)
_SLOW = Answer("The body did not arrive in time.")
_LARGE = Answer("The body is larger than its limit.")
_BUSY = Answer(
    "The index, the disk or the server is not able to do it now.", headers=("Retry-After",)
)

_JSON_TYPES: dict[Kind, Schema] = {
    "boolean": {"type": "boolean"},
    "count": {"type": "integer", "minimum": 1},
}


def query_parameters(*rows: QueryParameter) -> tuple[Parameter, ...]:
    """Rows of the table of query parameters as parameters of an operation."""
    return tuple(
        Parameter(row.name, row.help.format(**_MARKED), _query_schema(row), row.required)
        for row in rows
    )


def _query_schema(row: QueryParameter) -> Schema:
    schema = dict(_JSON_TYPES.get(row.kind, _TEXT))
    if row.choices:
        schema["enum"] = list(row.choices)
    if row.default is not None:
        schema["default"] = row.default
    if row.example is not None:
        schema["examples"] = [row.example]
    return schema


_MARKED = {row.name: f"`{row.name}`" for row in PARAMETERS}
_ENCODING = Parameter(
    "Content-Encoding",
    "How the body is packed; its limit counts after unpacking.",
    _TEXT | {"enum": ["gzip", "identity"]},
    place="header",
)

# --- the table ------------------------------------------------------------------------------

_ABOUT_THE_SERVER = (
    Operation(
        method="GET",
        path="/health",
        name="getHealth",
        tag="Server",
        access="anybody",
        summary="How the server is doing",
        text="Answered from counters: it never waits for the index, and shows no secret.",
        answers={200: Answer("Counters, and the settings in force.", Health)},
    ),
)

_METRICS = Operation(
    method="GET",
    path="/metrics",
    name="getMetrics",
    tag="Server",
    access="api",
    summary="Figures for Prometheus",
    text="In its text format, version 0.0.4. Loopback needs no credentials, but for a proxy there.",
    answers={200: Answer("The figures.", _TEXT, TEXT), 401: _NO_API},
)

_LOGS = (
    Operation(
        method="POST",
        path="/api/ingest",
        name="ingest",
        tag="Logs",
        access="producer",
        summary="Send logs",
        text=(
            "The server sets `producerId`, from the credentials, and `ingestedAt` in each record. "
            "Items that are no objects are rejected, the others taken."
        ),
        parameters=(_ENCODING,),
        payload=Payload(
            "IngestBody",
            [
                {
                    "timestamp": "2026-02-18T10:20:00.000Z",
                    "level": "INFO",
                    "event": "order.created",
                    "message": "Order created",
                    "orderId": "ORD-123",
                }
            ],
        ),
        answers={
            200: Answer("In the file; the very next query finds them.", IngestResponse),
            202: Answer(
                "In the queue (`--ingest-async-queue`), to be written soon.", IngestResponse
            ),
            400: Answer("The body is not JSON, or has another shape."),
            401: _NO_PRODUCER,
            404: Answer("Ingest is off: neither producers nor Basic auth are configured."),
            408: _SLOW,
            413: Answer("More than `--ingest-max-body-bytes`, counted after decompression."),
            415: Answer("A `content-encoding` other than gzip."),
            503: Answer(
                "The queue is full, or the disk. Nothing was kept: send again later.",
                headers=("Retry-After",),
            ),
        },
    ),
    Operation(
        method="GET",
        path="/api/logs",
        name="getLogs",
        tag="Logs",
        access="api",
        summary="A page of entries",
        text=(
            "Newest first; those of one millisecond newest arrival first. Every filter that is "
            "set must hold; one that is empty counts as not set."
        ),
        parameters=query_parameters(*FILTERS, LIMIT, CURSOR),
        answers={200: Answer("The page.", Page), 400: _BAD_QUERY, 401: _NO_API, 503: _BUSY},
    ),
    Operation(
        method="GET",
        path="/api/logs/aggregate",
        name="aggregateLogs",
        tag="Logs",
        access="api",
        summary="Counts by value",
        text=(
            "The highest count first, then the smaller key. Entries without the field count as "
            "`(missing)`."
        ),
        parameters=query_parameters(*GROUPING, *FILTERS, LIMIT),
        answers={200: Answer("The counts.", Aggregate), 400: _BAD_QUERY, 401: _NO_API, 503: _BUSY},
    ),
)

_REINDEX = Operation(
    method="POST",
    path="/api/reindex",
    name="reindex",
    tag="Logs",
    access="api",
    summary="Make the index anew from the files",
    text="Queries are answered from the old index until the new one is complete.",
    answers={200: Answer("It is complete.", ReindexResponse), 401: _NO_API, 503: _BUSY},
)

_ALERTS = (
    Operation(
        method="GET",
        path="/api/alerts/config",
        name="getAlertConfig",
        tag="Alerts",
        access="api",
        summary="The alert policy in force",
        answers={
            200: Answer("The policy, and the file that keeps it.", AlertConfigResponse),
            401: _NO_API,
            503: _BUSY,
        },
    ),
    Operation(
        method="PUT",
        path="/api/alerts/config",
        name="putAlertConfig",
        tag="Alerts",
        access="api",
        summary="Change the alert policy",
        text=(
            "Any part of the policy; it is stored, and in force at once. Setting a `webhookUrl` "
            "enables, `null` clears and disables, unless `enabled` is said too."
        ),
        payload=Payload("PolicyChange", {"errorThreshold": 50, "windowMinutes": 10}),
        answers={
            200: Answer("The policy that is now in force.", AlertConfigResponse),
            400: Answer("The body is no such part; the text names the field."),
            401: _NO_API,
            408: _SLOW,
            413: _LARGE,
            503: _BUSY,
        },
    ),
    Operation(
        method="POST",
        path="/api/alerts/test-webhook",
        name="testWebhook",
        tag="Alerts",
        access="api",
        summary="Post a test",
        text="To the given URL, or to that of the policy.",
        payload=Payload("WebhookToTest", {}, required=False),
        answers={
            200: Answer("It was delivered.", WebhookTestResponse),
            400: Answer("It could not be delivered, or there is no URL; the text says why."),
            401: _NO_API,
            408: _SLOW,
            413: _LARGE,
            503: _BUSY,
        },
    ),
)

_DOCUMENTS = (
    Operation(
        method="GET",
        path="/openapi.json",
        name="getOpenapiJson",
        tag="Documentation",
        access="anybody",
        summary="This document as JSON",
        answers={200: Answer("OpenAPI 3.1.", {"type": "object"}), 503: _BUSY},
    ),
    Operation(
        method="GET",
        path="/openapi.yaml",
        name="getOpenapiYaml",
        tag="Documentation",
        access="anybody",
        summary="This document as YAML",
        answers={200: Answer("OpenAPI 3.1.", {"type": "object"}, YAML), 503: _BUSY},
    ),
    Operation(
        method="GET",
        path="/docs",
        name="getDocs",
        tag="Documentation",
        access="anybody",
        summary="This document as a page to read and try out",
        text="It works without internet: no other host is asked for anything.",
        answers={200: Answer("The page.", _TEXT, HTML), 503: _BUSY},
    ),
    Operation(
        method="GET",
        path="/docs/scalar.js",
        name="getDocsScript",
        tag="Documentation",
        access="anybody",
        summary="The script of that page",
        parameters=(
            Parameter("v", "The script's version: with it, the answer may be kept.", _TEXT),
        ),
        answers={
            200: Answer("Scalar's API reference.", _TEXT, SCRIPT, ("Cache-Control",)),
            503: _BUSY,
        },
    ),
)

OPERATIONS: tuple[Operation, ...] = (
    *_ABOUT_THE_SERVER,
    _METRICS,
    *_LOGS,
    _REINDEX,
    *_ALERTS,
    *_DOCUMENTS,
)


def methods_of(path: str) -> list[str]:
    """The methods of a path. Raises KeyError for a path that is not documented."""
    found = [operation.method for operation in OPERATIONS if operation.path == path]
    if not found:
        raise KeyError(f"{path} has no operation in the table of the API")
    return found
