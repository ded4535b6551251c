"""The shape of every response: JSON, and errors as `{"error": "<text>"}`."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from mikroscope.errors import (
    AlertPolicyError,
    ConflictError,
    IngestError,
    MikroScopeError,
    QueryError,
)
from mikroscope.server.schemas import ErrorResponse
from mikroscope.server.unknown_paths import nearest_path

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/json; charset=utf-8"
RETRY = {"retry-after": "1"}


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode anything that msgspec can encode."""
    body = msgspec.json.encode(content)
    return Response(body, status, {"content-type": CONTENT_TYPE, **(headers or {})})


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Report an error; the text says what to do about it."""
    return json_response(ErrorResponse(text), status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    text, path = error.detail, request.scope["path"]
    if error.status_code == 404 and text == "Not Found":
        text = _unknown_path(path, [route.path for route in request.app.routes])
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        text = f"{path} does not support {request.method}, only {headers['Allow']}"
    return error_response(error.status_code, text, headers)


def _unknown_path(path: str, known: Iterable[str]) -> str:
    meant = nearest_path(path, known)
    hint = f" Did you mean {meant}?" if meant else ""
    return f"Unknown path {path}.{hint} See /docs"


async def _bad_request(request: Request, error: Exception) -> Response:
    return error_response(400, str(error))


async def _conflict(request: Request, error: Exception) -> Response:
    return error_response(409, str(error))


async def _ingest_error(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, IngestError) else 400
    headers = RETRY if status == 503 else None
    return error_response(status, str(error), headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.error("%s %s: %s", request.method, request.scope["path"], error)
    return error_response(503, str(error), RETRY)


async def _unexpected(request: Request, error: Exception) -> Response:
    # Uvicorn closes the connection after such an error; the header announces it.
    return error_response(500, "internal error; see the server log", {"connection": "close"})


ERROR_HANDLERS: Mapping[Any, ExceptionHandler] = {
    HTTPException: _http_error,
    QueryError: _bad_request,
    AlertPolicyError: _bad_request,
    ConflictError: _conflict,
    IngestError: _ingest_error,
    MikroScopeError: _unavailable,
    Exception: _unexpected,
}
