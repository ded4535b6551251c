"""How an area of the API declares its endpoints, and how these become routes."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mikroscope.query.parameters import take_known
from mikroscope.server.auth import Auth
from mikroscope.server.metrics import Metrics
from mikroscope.server.middleware.concurrency import ConcurrencyLimit, Handler
from mikroscope.server.openapi.model import Operation
from mikroscope.sidecar import Sidecar

Method = Callable[[Any, Request], Awaitable[Response]]


class Context(NamedTuple):
    """What the areas of one server are made from."""

    sidecar: Sidecar
    auth: Auth
    metrics: Metrics
    slots: ConcurrencyLimit


class Endpoint(NamedTuple):
    """An operation with the method that answers it; `limited` ones occupy a slot meanwhile."""

    operation: Operation
    method: Method
    limited: bool


def answers(operation: Operation, *, limited: bool = True) -> Callable[[Method], Endpoint]:
    """Declare a method of an area as an endpoint: routes and document are made from these only."""
    return lambda method: Endpoint(operation, method, limited)


def parameters_of(request: Request, operation: Operation) -> dict[str, str]:
    """The query parameters of a request by name. Raises QueryError, for unknown ones as well."""
    known = [one.name for one in operation.parameters if one.place == "query"]
    return take_known(request.query_params.multi_items(), known)


def endpoints_of(area: type) -> list[Endpoint]:
    """The endpoints that an area declares, in their order."""
    return [one for one in vars(area).values() if isinstance(one, Endpoint)]


def make_routes(areas: Iterable[object], slots: ConcurrencyLimit) -> list[Route]:
    """One route for each path; it takes the methods of the operations of that path."""
    handlers: dict[str, dict[str, Handler]] = {}
    for area in areas:
        for operation, method, limited in endpoints_of(type(area)):
            handler: Handler = partial(method, area)
            by_method = handlers.setdefault(operation.path, {})
            by_method[operation.method] = slots.limited(handler) if limited else handler
    return [
        Route(path, _by_method(by_method), methods=list(by_method))
        for path, by_method in handlers.items()
    ]


def _by_method(handlers: dict[str, Handler]) -> Handler:
    async def answer(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return answer
