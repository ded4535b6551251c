"""Serves files of this package: the OpenAPI document, the page `/docs` and its script."""

import gzip
import html
from functools import cache
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_STATIC = Path(__file__).with_name("static")
_YEAR_S = 31_536_000
# The script can neither load anything from another host nor send anything to one.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Scalar's styles are part of its script
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_NO_SNIFFING = {"x-content-type-options": "nosniff"}
_CONFIGURATION = {
    "withDefaultFonts": False,
    "telemetry": False,
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
    "showDeveloperTools": "never",
    "hideClientButton": True,
    "defaultOpenAllTags": True,
    "documentDownloadType": "none",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MikroScope API</title>
<link rel="icon" href="data:,">
</head>
<body>
<!-- Rendered by @scalar/api-reference. Instead of calling Scalar.createApiReference in an inline
script, which the page's policy forbids, the page names its document in data-url. -->
<noscript>This page needs JavaScript; <a href="{base}openapi.yaml">openapi.yaml</a> does not.
</noscript>
<main id="app">
<script id="api-reference"
 data-url="{base}openapi.json" data-configuration="{configuration}"></script>
<script src="{base}docs/scalar.js?v={version}"></script>
</main>
</body>
</html>
"""


@cache
def scalar_version() -> str:
    """The version of the script in this package."""
    return (_STATIC / "scalar.VERSION").read_text().strip()


@cache
def openapi_file(name: str) -> bytes:
    """The OpenAPI document as `make openapi` has written it: openapi.json or openapi.yaml."""
    return (_STATIC / name).read_bytes()


def page(request: Request) -> Response:
    """The page `/docs`; its links are relative, so it also works below a path of a proxy."""
    configuration = html.escape(msgspec.json.encode(_CONFIGURATION).decode())
    base = "../" if request.scope["raw_path"].endswith(b"/") else "./"
    content = _PAGE.format(base=base, configuration=configuration, version=scalar_version())
    headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
    return Response(content, headers=headers | _NO_SNIFFING, media_type="text/html")


def script(request: Request) -> Response:
    """Scalar's script; clients may cache it if the URL names its version, and get it packed."""
    known = request.query_params.get("v") == scalar_version()
    headers = {
        "cache-control": f"public, max-age={_YEAR_S}, immutable" if known else "no-cache",
        "vary": "Accept-Encoding",
    }
    is_packed = _takes_gzip(request.headers.get("accept-encoding", ""))
    if is_packed:
        headers["content-encoding"] = "gzip"
    content = _script(is_packed)
    return Response(content, headers=headers | _NO_SNIFFING, media_type="text/javascript")


@cache
def _script(is_packed: bool) -> bytes:
    """The script; all clients that read it at a time share one copy."""
    packed = (_STATIC / "scalar.js.gz").read_bytes()
    return packed if is_packed else gzip.decompress(packed)


def _takes_gzip(accepted: str) -> bool:
    """Return whether an `accept-encoding` names gzip, or `*`, with a weight other than 0."""
    weights = {}
    for one in accepted.lower().split(","):
        coding, _, weight = one.replace(" ", "").partition(";q=")
        weights[coding] = weight.strip("0.") != "" or not weight
    return weights.get("gzip", weights.get("*", False))
