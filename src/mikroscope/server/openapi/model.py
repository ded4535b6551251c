"""How an operation of the HTTP API is documented, and what several operations share."""

from typing import Any, Literal

import msgspec

from mikroscope.query.parameters import PARAMETERS, Kind, QueryParameter
from mikroscope.server.schemas import ErrorResponse

JSON = "application/json"
NDJSON = "application/x-ndjson"
YAML = "application/yaml"
HTML = "text/html"
TEXT = "text/plain"
SCRIPT = "text/javascript"

Access = Literal["anybody", "api", "producer"]
Schema = dict[str, Any]


class ResponseDoc(msgspec.Struct, frozen=True):
    """One status of an operation; `body` is a type or a JSON schema."""

    description: str
    body: Any = ErrorResponse
    media: str = JSON
    headers: tuple[str, ...] = ()


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an operation."""

    name: str
    description: str
    schema: Schema
    required: bool = False
    place: Literal["query", "header"] = "query"


class Payload(msgspec.Struct, frozen=True):
    """The body of a request; `schema` names one of `document.payload_schemas`.

    With `lines`, the body may also be NDJSON, of which that is an example line.
    """

    schema: str
    example: Any
    required: bool = True
    lines: Any = None


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
    responses: dict[int, ResponseDoc]


# --- what several operations share ----------------------------------------------------------

TEXT_SCHEMA: Schema = {"type": "string"}
BAD_QUERY = ResponseDoc("A parameter is not valid; the text names it and says what was expected.")
NO_API_CREDENTIALS = ResponseDoc(
    "The API token, or the Basic auth user, is missing or wrong.", headers=("WWW-Authenticate",)
)
SLOW_BODY = ResponseDoc("The body did not arrive in time.")
LARGE_BODY = ResponseDoc("The body is larger than its limit.")
UNAVAILABLE = ResponseDoc(
    "The index, the disk or the server cannot do this now.", headers=("Retry-After",)
)

_JSON_TYPES: dict[Kind, Schema] = {
    "boolean": {"type": "boolean"},
    "count": {"type": "integer", "minimum": 1},
}
_MARKED_NAMES = {row.name: f"`{row.name}`" for row in PARAMETERS}


def query_parameters(*rows: QueryParameter) -> tuple[Parameter, ...]:
    """Convert rows of the table of query parameters into parameters of an operation."""
    return tuple(
        Parameter(row.name, _description(row), _query_schema(row), row.required) for row in rows
    )


def _description(row: QueryParameter) -> str:
    """The help, with the example: pages that try requests would send one from the schema."""
    example = "" if row.example is None else f" Example: `{row.example}`."
    return row.help.format(**_MARKED_NAMES) + example


def _query_schema(row: QueryParameter) -> Schema:
    schema = dict(_JSON_TYPES.get(row.kind, TEXT_SCHEMA))
    if row.choices:
        schema["enum"] = list(row.choices)
    if row.default is not None:
        schema["default"] = row.default
    return schema
