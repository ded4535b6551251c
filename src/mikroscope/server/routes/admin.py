"""`/health`, `/metrics` and `/api/reindex`: what operators use."""

import asyncio
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from anyio import CapacityLimiter, move_on_after, to_thread
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.indexing.rebuild import RebuildResult, index_report
from mikroscope.server.health import health
from mikroscope.server.openapi.model import (
    NO_API_CREDENTIALS,
    TEXT,
    TEXT_SCHEMA,
    UNAVAILABLE,
    Operation,
    ResponseDoc,
)
from mikroscope.server.responses import json_response
from mikroscope.server.routes.endpoint import Context, answers, parameters_of
from mikroscope.server.schemas import Health, Readiness, ReindexResponse, ResetReport
from mikroscope.sidecar import now_utc

_CHECK_S = 1.0  # for the index to answer
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # headers that proxies add

_HEALTH = Operation(
    method="GET",
    path="/health",
    name="getHealth",
    tag="Server",
    access="anybody",
    summary="Get the state of the server",
    text=(
        "Answered from counters and one cheap question to the index; it never shows a secret. The "
        "status is 200 whatever is wrong: read `ok`."
    ),
    responses={200: ResponseDoc("Counters, and the settings in force.", Health)},
)
_READY = Operation(
    method="GET",
    path="/ready",
    name="getReadiness",
    tag="Server",
    access="anybody",
    summary="Find out whether the server works",
    text="For probes that understand a status only.",
    responses={
        200: ResponseDoc("`ok` of `/health` is true.", Readiness),
        503: ResponseDoc("It is false, for the reasons in `problems`.", Readiness),
    },
)
_METRICS = Operation(
    method="GET",
    path="/metrics",
    name="getMetrics",
    tag="Server",
    access="api",
    summary="Get metrics for Prometheus",
    text=(
        "In the Prometheus text format, version 0.0.4. Requests from loopback need no credentials "
        "unless a proxy forwards them."
    ),
    responses={200: ResponseDoc("The metrics.", TEXT_SCHEMA, TEXT), 401: NO_API_CREDENTIALS},
)
_REINDEX = Operation(
    method="POST",
    path="/api/reindex",
    name="reindexLogs",
    tag="Logs",
    access="api",
    summary="Rebuild the index from the log files",
    text="Queries are answered from the old index until the new one is complete.",
    responses={
        200: ResponseDoc("The new index is complete and in use.", ReindexResponse),
        401: NO_API_CREDENTIALS,
        409: ResponseDoc("The logs directory is gone; the index is left as it is."),
        503: UNAVAILABLE,
    },
)


class AdminRoutes:
    """Reports the state of the server and rebuilds its index."""

    def __init__(self, context: Context) -> None:
        self._sidecar = context.sidecar
        self._auth = context.auth
        self._metrics = context.metrics
        self._rebuild_thread = CapacityLimiter(1)
        self._check_thread = CapacityLimiter(1)
        self._rebuilding: asyncio.Task[RebuildResult] | None = None

    @answers(_HEALTH, limited=False)
    async def health(self, request: Request) -> Response:
        return json_response(await self._health())

    @answers(_READY, limited=False)
    async def ready(self, request: Request) -> Response:
        found = await self._health()
        return json_response(
            Readiness(ok=found.ok, problems=found.problems), 200 if found.ok else 503
        )

    @answers(_METRICS, limited=False)
    async def metrics(self, request: Request) -> Response:
        if not is_loopback(request) or _is_forwarded(request):
            self._auth.require_api(request)
        from mikroscope.server.exposition import exposition  # loads the Prometheus library

        content = exposition(await self._health(), self._metrics.snapshot())
        return Response(content, headers={"content-type": _METRICS_TYPE})

    @answers(_REINDEX)
    async def reindex(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters_of(request, _REINDEX)
        started = now_utc()
        rebuilt = await self._rebuild()
        reset = ResetReport(
            entries_deleted=rebuilt.replaced.entries,
            fields_deleted=rebuilt.replaced.field_values or 0,
        )
        report = index_report(rebuilt.stats, started, now_utc())
        return json_response(ReindexResponse(report=report, reset=reset))

    async def _health(self) -> Health:
        """The state of the server; whether the index answers is found out in a thread."""
        if self._sidecar.must_check_index:
            with move_on_after(_CHECK_S):
                check = self._sidecar.check_index
                await to_thread.run_sync(check, limiter=self._check_thread, abandon_on_cancel=True)
        return health(self._sidecar)

    async def _rebuild(self) -> RebuildResult:
        """Start a rebuild or join the running one. A client that disconnects does not stop it."""
        if self._rebuilding is None or self._rebuilding.done():
            run = to_thread.run_sync(self._sidecar.rebuilder.run, limiter=self._rebuild_thread)
            self._rebuilding = asyncio.create_task(run)
        return await asyncio.shield(self._rebuilding)


def is_loopback(request: Request) -> bool:
    """Return whether the peer of the connection is this machine, whatever the headers say."""
    with suppress(ValueError):
        return request.client is not None and _address(request.client.host).is_loopback
    return False


def _is_forwarded(request: Request) -> bool:
    """Return whether a proxy forwards the request: headers may only take rights away."""
    return any(name in request.headers for name in _FORWARDED)


def _address(host: str) -> IPv4Address | IPv6Address:
    """Parse an address; ::ffff:127.0.0.1, as sockets for both families write it, is IPv4.

    Raises ValueError.
    """
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address
