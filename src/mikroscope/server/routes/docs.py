"""`/openapi.json`, `/openapi.yaml` and `/docs`, the documentation of this API; `/` leads there."""

import re

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.server.openapi.model import (
    HTML,
    SCRIPT,
    TEXT,
    TEXT_SCHEMA,
    UNAVAILABLE,
    YAML,
    Operation,
    Parameter,
    ResponseDoc,
    Schema,
)
from mikroscope.server.responses import CONTENT_TYPE
from mikroscope.server.routes.endpoint import Context, answers
from mikroscope.server.static_files import openapi_file, page, script

_YAML_TYPE = "application/yaml; charset=utf-8"
_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")  # a weight that means: not this one
_OBJECT: Schema = {"type": "object"}

_ROOT = Operation(
    method="GET",
    path="/",
    name="getRoot",
    tag="Documentation",
    access="anybody",
    summary="Find the documentation",
    responses={
        307: ResponseDoc(
            "For browsers, whose `accept` names `text/html`: `/docs`.",
            TEXT_SCHEMA,
            TEXT,
            headers=("Location",),
        ),
        404: ResponseDoc("For others; the text names `/docs`."),
        503: UNAVAILABLE,
    },
)
_OPENAPI_JSON = Operation(
    method="GET",
    path="/openapi.json",
    name="getOpenapiJson",
    tag="Documentation",
    access="anybody",
    summary="Get this document as JSON",
    responses={200: ResponseDoc("OpenAPI 3.1.", _OBJECT), 503: UNAVAILABLE},
)
_OPENAPI_YAML = Operation(
    method="GET",
    path="/openapi.yaml",
    name="getOpenapiYaml",
    tag="Documentation",
    access="anybody",
    summary="Get this document as YAML",
    responses={200: ResponseDoc("OpenAPI 3.1.", _OBJECT, YAML), 503: UNAVAILABLE},
)
_PAGE = Operation(
    method="GET",
    path="/docs",
    name="getDocs",
    tag="Documentation",
    access="anybody",
    summary="Read this document as a web page and try requests",
    text="Works without internet access: the page loads nothing from other hosts.",
    responses={200: ResponseDoc("The page.", TEXT_SCHEMA, HTML), 503: UNAVAILABLE},
)
_SCRIPT = Operation(
    method="GET",
    path="/docs/scalar.js",
    name="getDocsScript",
    tag="Documentation",
    access="anybody",
    summary="Get the script of that page",
    parameters=(
        Parameter("v", "Version of the script; with it, clients may cache it.", TEXT_SCHEMA),
    ),
    responses={
        200: ResponseDoc("Scalar's API reference.", TEXT_SCHEMA, SCRIPT, ("Cache-Control",)),
        503: UNAVAILABLE,
    },
)


class DocsRoutes:
    """Serves files of this package; none of them needs credentials."""

    def __init__(self, context: Context) -> None:
        """Every server has the same documentation."""

    @answers(_ROOT)
    async def root(self, request: Request) -> Response:
        if names_html(request.headers.get("accept", "")):
            return Response(status_code=307, headers={"location": "/docs"})
        raise HTTPException(404, 'Nothing at "/". API reference: /docs')

    @answers(_OPENAPI_JSON)
    async def openapi_json(self, request: Request) -> Response:
        content = await to_thread.run_sync(openapi_file, "openapi.json")
        return Response(content, headers={"content-type": CONTENT_TYPE})

    @answers(_OPENAPI_YAML)
    async def openapi_yaml(self, request: Request) -> Response:
        content = await to_thread.run_sync(openapi_file, "openapi.yaml")
        return Response(content, headers={"content-type": _YAML_TYPE})

    @answers(_PAGE)
    async def docs(self, request: Request) -> Response:
        return page(request)

    @answers(_SCRIPT)
    async def docs_script(self, request: Request) -> Response:
        return await to_thread.run_sync(script, request)


def names_html(accept: str) -> bool:
    """Return whether an `accept` header names `text/html`, as those of browsers do."""
    for one in accept.lower().split(","):
        media, *parameters = (part.strip() for part in one.split(";"))
        if media == "text/html" and not any(map(_ZERO.fullmatch, parameters)):
            return True
    return False
