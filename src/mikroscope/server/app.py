"""The ASGI app of a server: the areas of its API, and the middleware around them."""

import time
from typing import NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.types import ASGIApp

from mikroscope._version import __version__
from mikroscope.server.auth import Auth
from mikroscope.server.metrics import Metrics
from mikroscope.server.middleware.access_log import AccessLogMiddleware
from mikroscope.server.middleware.concurrency import ConcurrencyLimit
from mikroscope.server.middleware.cors import CorsMiddleware
from mikroscope.server.middleware.trailing_slash import TrailingSlash
from mikroscope.server.responses import ERROR_HANDLERS
from mikroscope.server.routes.admin import AdminRoutes
from mikroscope.server.routes.alerts import AlertRoutes
from mikroscope.server.routes.docs import DocsRoutes
from mikroscope.server.routes.endpoint import Context, endpoints_of, make_routes
from mikroscope.server.routes.ingest import IngestRoutes
from mikroscope.server.routes.search import SearchRoutes
from mikroscope.sidecar import Sidecar


class _Area(Protocol):
    def __init__(self, context: Context) -> None: ...


AREAS: tuple[type[_Area], ...] = (IngestRoutes, SearchRoutes, AlertRoutes, AdminRoutes, DocsRoutes)
OPERATIONS = tuple(one.operation for area in AREAS for one in endpoints_of(area))
"""Every operation of the API, in the order of its document."""


class App(NamedTuple):
    """The app of one server, what its connections need as well, and what can be reloaded."""

    asgi: ASGIApp
    cors: CorsMiddleware
    auth: Auth


def make_app(sidecar: Sidecar) -> App:
    """Build the app of one server."""
    settings = sidecar.settings
    metrics = Metrics(__version__, time.time())
    slots = ConcurrencyLimit(settings.max_concurrent_requests)
    auth = Auth(settings)
    context = Context(sidecar, auth, metrics, slots)
    routes = make_routes([area(context) for area in AREAS], slots)
    paths = [route.path for route in routes]
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
    app.router.redirect_slashes = False  # no redirect: TrailingSlash
    cors = CorsMiddleware(app, settings.cors_allow_origin, paths)
    log = AccessLogMiddleware(cors, paths, settings.log_requests, metrics.observe)
    return App(TrailingSlash(log), cors, auth)
