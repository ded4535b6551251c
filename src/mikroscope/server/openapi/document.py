"""Makes the OpenAPI 3.1 document from operations and from the types of their responses."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from mikroscope._version import __version__
from mikroscope.alerts.policy import AlertPolicy
from mikroscope.server.openapi.model import (
    JSON,
    NDJSON,
    TEXT_SCHEMA,
    Access,
    Operation,
    Parameter,
    Payload,
    ResponseDoc,
    Schema,
)
from mikroscope.settings.values import WEBHOOK_FORMATS
from mikroscope.sidecar import policy_limits

_REF = "#/components/schemas/{name}"
_DESCRIPTION = """\
Ingests, searches and counts logs. Every error is `{"error": "…"}`; its text says what to do.

A path that is not listed gets 404, a method that is not listed 405 with `allow`. `HEAD` gets the
response of `GET` without its body, and `OPTIONS` 204 on every path; CORS headers are on every
response.

If neither an API token nor Basic auth is configured, the operations that require the API token
are open to every client that can reach the port."""
_TAGS = {
    "Logs": "Ingest, search and count logs.",
    "Alerts": "Configure the webhook that is notified of error spikes and of silence.",
    "Server": "Monitor the server.",
    "Documentation": "Read this documentation.",
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
    "WWW-Authenticate": "The authentication schemes that are accepted.",
    "Retry-After": "Seconds to wait before trying again.",
    "Cache-Control": "How long the response may be cached.",
    "Location": "Where to go.",
}


def make_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of an API; it is the same for every server."""
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
        "paths": _paths(operations),
        "components": {
            "schemas": _schemas(operations) | payload_schemas(),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def payload_schemas() -> dict[str, Schema]:
    """The schemas of request bodies; the server parses these without a type of their own."""
    record = {"type": "object", "description": "One record."}
    logs = {"type": "array", "items": record}
    return {
        "IngestBody": {
            "anyOf": [
                logs,
                {"type": "object", "properties": {"logs": logs}, "minProperties": 1},
            ]
        },
        "PolicyChange": _policy_change(policy_limits()),
        "WebhookToTest": {
            "type": "object",
            "properties": {
                "webhookUrl": {"type": ["string", "null"]},
                "webhookFormat": {"type": "string", "enum": list(WEBHOOK_FORMATS)},
            },
            "additionalProperties": False,
        },
    }


def _policy_change(limits: Mapping[str, tuple[int, int]]) -> Schema:
    """The schema of any part of the policy; `limits` are the bounds of numbers by JSON key."""
    schema: Schema = msgspec.json.schema(AlertPolicy)["$defs"]["AlertPolicy"]
    properties = dict(schema["properties"])
    for key, (low, high) in limits.items():
        properties[key] = properties[key] | {"minimum": low, "maximum": high}
    return {
        "type": "object",
        "description": "The fields to change; the others keep their values.",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }


# --- schemas of responses -------------------------------------------------------------------


def _schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    """The schema of each type of a response, and of the types inside it."""
    responses = [one for operation in operations for one in operation.responses.values()]
    types = dict.fromkeys(one.body for one in responses if isinstance(one.body, type))
    _, found = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in found.values():  # Python 3.13 takes the indentation of docstrings away itself
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    plain = msgspec.json.decode(msgspec.json.encode(found))  # defaults may be tuples
    return {name: _exact(schema) for name, schema in sorted(plain.items())}


def _exact(schema: Schema) -> Schema:
    """Drop null from fields whose default is null: responses leave them out instead."""
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
        "responses": {str(status): _response(one) for status, one in operation.responses.items()},
    }
    return {key: part for key, part in parts.items() if part or key == "security"}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _request_body(payload: Payload | None) -> dict[str, Any] | None:
    if payload is None:
        return None
    schema = {"$ref": _REF.format(name=payload.schema)}
    content: dict[str, Any] = {JSON: {"schema": schema, "example": payload.example}}
    if payload.lines is not None:
        line = msgspec.json.encode(payload.lines).decode()
        content[NDJSON] = {"schema": TEXT_SCHEMA, "example": f"{line}\n"}
    return {"required": payload.required, "content": content}


def _response(doc: ResponseDoc) -> dict[str, Any]:
    response: dict[str, Any] = {"description": doc.description}
    if doc.headers:
        response["headers"] = {name: _header(name) for name in doc.headers}
    return response | {"content": {doc.media: {"schema": _body(doc.body)}}}


def _header(name: str) -> dict[str, Any]:
    return {"description": _HEADERS[name], "schema": {"type": "string"}}


def _body(body: Any) -> Schema:
    if isinstance(body, type):
        return {"$ref": _REF.format(name=body.__name__)}
    schema: Schema = body
    return schema
