"""The OpenAPI 3.1 document, made from the table of operations and the types of the answers."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

from mikroscope._version import __version__
from mikroscope.alerts.policy import AlertPolicy
from mikroscope.server.openapi.model import (
    JSON,
    OPERATIONS,
    Access,
    Answer,
    Operation,
    Parameter,
    Payload,
    Schema,
)
from mikroscope.server.yaml import to_yaml
from mikroscope.sidecar import policy_limits

_REF = "#/components/schemas/{name}"
_DESCRIPTION = """\
Takes logs, finds them, counts them. Every error is `{"error": "…"}` with a text to act on.

A path that is not listed is answered with 404, a method that is not with 405 and `allow`. `HEAD`
is answered like `GET` without the body, and `OPTIONS` on every path with 204; the CORS headers
are on every answer.

Where neither API token nor Basic auth is configured, the operations that ask for the API token
are open to anybody who reaches the port."""
_TAGS = {
    "Logs": "Send them, find them, count them.",
    "Alerts": "A webhook is told of error spikes and of silence.",
    "Server": "How it is doing.",
    "Documentation": "What you are reading.",
}
_SECURITY_SCHEMES = {
    "apiToken": {"type": "http", "scheme": "bearer", "description": "`--api-token`"},
    "producerToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `--ingest-producers`.",
    },
    "basicAuth": {
        "type": "http",
        "scheme": "basic",
        "description": "`--auth-username` and `--auth-password`",
    },
}
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    "anybody": [],
    "api": [{"apiToken": []}, {"basicAuth": []}],
    "producer": [{"producerToken": []}, {"basicAuth": []}],
}
_HEADERS = {
    "WWW-Authenticate": "The ways to say who you are.",
    "Retry-After": "Seconds to wait before the next try.",
    "Cache-Control": "How long the answer may be kept.",
}


@cache
def document() -> dict[str, Any]:
    """The document; it is the same for every server."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MikroScope",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _paths(OPERATIONS),
        "components": {
            "schemas": _schemas(OPERATIONS) | payloads(),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


@cache
def as_json() -> bytes:
    """`/openapi.json`."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


@cache
def as_yaml() -> bytes:
    """`/openapi.yaml`."""
    return to_yaml(document()).encode()


def payloads() -> dict[str, Schema]:
    """The schemas of what is sent; the server reads these without a type of their own."""
    record = {"type": "object", "description": "One log."}
    logs = {"type": "array", "items": record}
    return {
        "IngestBody": {
            "anyOf": [
                logs,
                {"type": "object", "properties": {"logs": logs}, "required": ["logs"]},
            ]
        },
        "PolicyChange": _policy_change(policy_limits()),
        "WebhookToTest": {
            "type": "object",
            "properties": {"webhookUrl": {"type": ["string", "null"]}},
            "additionalProperties": False,
        },
    }


def _policy_change(limits: Mapping[str, tuple[int, int]]) -> Schema:
    """The schema of the policy, but any part of it, and with the bounds of its numbers."""
    schema: Schema = msgspec.json.schema(AlertPolicy)["$defs"]["AlertPolicy"]
    properties = dict(schema["properties"])
    for key, (low, high) in limits.items():
        properties[key] = properties[key] | {"minimum": low, "maximum": high}
    return {
        "type": "object",
        "description": "The fields to change; the others stay as they are.",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }


# --- schemas of answers ---------------------------------------------------------------------


def _schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    """The schema of each type that is answered, and of those inside it."""
    answers = [answer for operation in operations for answer in operation.answers.values()]
    types = dict.fromkeys(answer.body for answer in answers if isinstance(answer.body, type))
    _, found = msgspec.json.schema_components(types, ref_template=_REF)
    return {name: _exact(schema) for name, schema in sorted(found.items())}


def _exact(schema: Schema) -> Schema:
    """A field with the default null is left out instead, so null is none of its values."""
    properties = {
        name: _without_null(one) if one.get("default", "") is None else one
        for name, one in schema.get("properties", {}).items()
    }
    return schema | {"properties": properties} if properties else schema


def _without_null(schema: Schema) -> Schema:
    kept = [one for one in schema["anyOf"] if one != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return rest | (kept[0] if len(kept) == 1 else {"anyOf": kept})


# --- paths ----------------------------------------------------------------------------------


def _paths(operations: Iterable[Operation]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.text,
        "security": _SECURITY[operation.access],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "requestBody": _request_body(operation.payload),
        "responses": {str(status): _response(one) for status, one in operation.answers.items()},
    }
    return {key: part for key, part in parts.items() if part or key == "security"}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.meaning,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _request_body(payload: Payload | None) -> dict[str, Any] | None:
    if payload is None:
        return None
    content = {"schema": {"$ref": _REF.format(name=payload.schema)}, "example": payload.example}
    return {"required": payload.required, "content": {JSON: content}}


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.meaning}
    if answer.headers:
        response["headers"] = {name: _header(name) for name in answer.headers}
    return response | {"content": {answer.media: {"schema": _body(answer.body)}}}


def _header(name: str) -> dict[str, Any]:
    return {"description": _HEADERS[name], "schema": {"type": "string"}}


def _body(body: Any) -> Schema:
    if isinstance(body, type):
        return {"$ref": _REF.format(name=body.__name__)}
    schema: Schema = body
    return schema
