"""Writes the reference of the HTTP API from the OpenAPI document."""

import json
import re
from collections.abc import Iterator
from typing import Any

from mikroscope.server.app import OPERATIONS
from mikroscope.server.openapi.document import make_document

Schema = dict[str, Any]
DOCUMENT = make_document(OPERATIONS)
ACCESS = {
    (): "none",
    ("apiToken", "basicAuth"): "the API token, or the Basic auth user",
    ("producerToken", "basicAuth"): "a producer's token, or the Basic auth user",
}
PLACES = {"query": "", "header": " (header)"}


def api_markdown() -> str:
    """A table of all operations, a section for each, and the types of bodies."""
    found = list(_operations())
    rows = [
        f"| `{method}` | [`{path}`](#{_anchor(f'{method} {path}')}) | {_access(one)} | "
        f"{one['summary']} |"
        for method, path, one in found
    ]
    table = ["| Method | Path | Credentials | What it does |", "|---|---|---|---|", *rows, ""]
    sections = [_section(method, path, one) for method, path, one in found]
    types = [_type(name, one) for name, one in DOCUMENT["components"]["schemas"].items()]
    heads = ["## Types of bodies", "", "A `?` marks a field that may be missing.", ""]
    return "\n".join([*table, *sections, *heads, *types])


def _operations() -> Iterator[tuple[str, str, Schema]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _access(operation: Schema) -> str:
    return ACCESS[tuple(name for one in operation["security"] for name in one)]


def _section(method: str, path: str, operation: Schema) -> str:
    text = operation.get("description", "")
    parts = [f"### {method} {path}", "", f"{operation['summary']}. {text}".strip(), ""]
    parts += [f"Credentials: {_access(operation)}.", ""]
    parts += _parameters(operation.get("parameters", []))
    parts += _body(operation.get("requestBody"))
    return "\n".join([*parts, *_responses(operation["responses"])])


def _parameters(found: list[Schema]) -> list[str]:
    if not found:
        return []
    rows = [
        f"| `{one['name']}`{PLACES[one['in']]} | {_kind(one['schema'])} | {_meaning(one)} |"
        for one in found
    ]
    return ["| Parameter | Type | Meaning |", "|---|---|---|", *rows, ""]


def _meaning(parameter: Schema) -> str:
    schema, parts = parameter["schema"], [parameter["description"]]
    parts += ["Required."] if parameter["required"] else []
    parts += [f"Default: {schema['default']}."] if "default" in schema else []
    return " ".join(parts)


def _body(body: Schema | None) -> list[str]:
    if body is None:
        return []
    (media, content), *others = body["content"].items()
    optional = "" if body["required"] else ", optional"
    example = json.dumps(content["example"], ensure_ascii=False)
    either = "".join(f", or `{other}`" for other, _ in others)
    sent = f"Body: {_kind(content['schema'])} as `{media}`{either}{optional}. Example:"
    return [sent, "", "```json", example, "```", ""]


def _responses(responses: Schema) -> list[str]:
    rows = [
        f"| {status} | {one['description']} | {_content(one)}{_headers(one)} |"
        for status, one in responses.items()
    ]
    return ["| Status | Meaning | Body |", "|---|---|---|", *rows, ""]


def _content(response: Schema) -> str:
    ((media, content),) = response["content"].items()
    kind = _kind(content["schema"])
    return kind if media == "application/json" else f"`{media}`"


def _headers(response: Schema) -> str:
    names = ", ".join(f"`{name.lower()}`" for name in response.get("headers", ()))
    return f"; with {names}" if names else ""


def _type(name: str, schema: Schema) -> str:
    description = schema.get("description", "")
    parts = [f"### {name}", "", *([description, ""] if description else [])]
    required = schema.get("required", ())
    rows = [
        f"| `{key}{'' if key in required else '?'}` | {_kind(one)} |"
        for key, one in schema.get("properties", {}).items()
    ]
    if rows:
        return "\n".join([*parts, "| Field | Type |", "|---|---|", *rows, ""])
    return "\n".join([*parts, f"{_kind(schema)}.", ""])


def _kind(schema: Schema) -> str:
    """The type of a value in a few words, with a link if the type has a section."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}"
    if schema.get("type") == "object":
        return _object(schema)
    kind = schema.get("type", "any")
    said = f" ({schema['description'].rstrip('.')})" if "description" in schema else ""
    return f"{' or '.join(kind) if isinstance(kind, list) else kind}{_bounds(schema)}{said}"


def _object(schema: Schema) -> str:
    if properties := schema.get("properties"):
        inside = ", ".join(f"`{key}`: {_kind(one)}" for key, one in properties.items())
        return f"object with {inside}"
    values = schema.get("additionalProperties")
    return f"object of {_kind(values)}" if isinstance(values, dict) else "object"


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low else ""


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
