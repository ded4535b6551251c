"""The HTTP routes: each reads its request, asks a part, and answers."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mikroscope._version import __version__
from mikroscope.alerts.policy import url_to_test
from mikroscope.errors import AlertPolicyError, IngestError
from mikroscope.indexing.rebuild import RebuildResult, index_report
from mikroscope.ingest.batch import IngestBatch
from mikroscope.ingest.encoding import body_too_large, unpack_body
from mikroscope.ingest.native import make_lines, receipt_time
from mikroscope.query.parameters import parse_grouping, parse_limit, parse_page, parse_query
from mikroscope.records.parsing import NotARecordError, parse_json
from mikroscope.records.timestamps import format_time
from mikroscope.server.auth import Auth
from mikroscope.server.health import health
from mikroscope.server.metrics import CONTENT_TYPE as METRICS_TYPE
from mikroscope.server.metrics import Metrics
from mikroscope.server.middleware.access_log import PRODUCER, AccessLogMiddleware
from mikroscope.server.middleware.concurrency import ConcurrencyLimit
from mikroscope.server.middleware.cors import CorsMiddleware
from mikroscope.server.openapi.document import as_json, as_yaml
from mikroscope.server.openapi.model import methods_of
from mikroscope.server.responses import CONTENT_TYPE, ERROR_HANDLERS, RETRY, answer
from mikroscope.server.schemas import (
    AlertConfigResponse,
    AlertPolicyResponse,
    IngestResponse,
    ReindexResponse,
    ResetReport,
    WebhookTestResponse,
)
from mikroscope.server.static_files import page, script
from mikroscope.sidecar import Sidecar, now_utc

_MAX_JSON_BYTES = 65_536  # of a body that is not logs
_LARGE_BODY = 65_536  # from this size on a body is parsed beside the event loop
_WEBHOOK_TESTS = 4  # at a time
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # what proxies add
_YAML_TYPE = "application/yaml; charset=utf-8"


class App(NamedTuple):
    """The app of one server, and what its connections must know."""

    asgi: ASGIApp
    cors: CorsMiddleware


def make_app(sidecar: Sidecar) -> App:
    """The app of one server: the routes, and what wraps them."""
    metrics = Metrics(__version__, time.time())
    routes = _Routes(sidecar, metrics).routes()
    paths = [route.path for route in routes]
    app = Starlette(
        routes=routes,
        exception_handlers=ERROR_HANDLERS,
    )
    app.router.redirect_slashes = False  # /api/logs/ is no route: it gets its 404
    settings = sidecar.settings
    cors = CorsMiddleware(app, settings.cors_allow_origin, paths)
    return App(AccessLogMiddleware(cors, paths, settings.log_requests, metrics.observe), cors)


class _Routes:
    def __init__(self, sidecar: Sidecar, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sidecar = sidecar
        self._store = sidecar.store
        self._writer = sidecar.writer
        self._alerter = sidecar.alerter
        self._auth = Auth(sidecar.settings)
        self._queued = sidecar.settings.ingest_async_queue
        self._max_body = sidecar.settings.ingest_max_body_bytes
        self._slots = ConcurrencyLimit(sidecar.settings.max_concurrent_requests)
        # What may take long has threads of its own, so that nothing else waits for one.
        self._query_threads = CapacityLimiter(40)
        self._webhook_threads = CapacityLimiter(_WEBHOOK_TESTS)
        self._rebuild_thread = CapacityLimiter(1)
        self._rebuilding: asyncio.Task[RebuildResult] | None = None

    def routes(self) -> list[Route]:
        """One route a path; its methods are those that the table of operations documents."""
        always_answered = {"/health": self.health, "/metrics": self.metrics}
        limited = {
            "/api/ingest": self.ingest,
            "/api/logs": self.logs,
            "/api/logs/aggregate": self.aggregate,
            "/api/reindex": self.reindex,
            "/api/alerts/config": self.alert_config,
            "/api/alerts/test-webhook": self.test_webhook,
            "/openapi.json": self.openapi_json,
            "/openapi.yaml": self.openapi_yaml,
            "/docs": self.docs,
            "/docs/scalar.js": self.docs_script,
        }
        endpoints = {path: self._slots.limited(endpoint) for path, endpoint in limited.items()}
        endpoints |= always_answered
        return [
            Route(path, endpoint, methods=methods_of(path)) for path, endpoint in endpoints.items()
        ]

    async def health(self, request: Request) -> Response:
        return answer(health(self._sidecar))

    async def metrics(self, request: Request) -> Response:
        if not _is_loopback(request) or _is_forwarded(request):
            self._auth.require_api(request)
        content = self._metrics.text(health(self._sidecar))
        return Response(content, headers={"content-type": METRICS_TYPE})

    async def logs(self, request: Request) -> Response:
        self._auth.require_api(request)
        query, page = parse_query(request.query_params), parse_page(request.query_params)
        return await self._ask(lambda: answer(self._store.search(query, page)))

    async def aggregate(self, request: Request) -> Response:
        self._auth.require_api(request)
        query = parse_query(request.query_params)
        grouping = parse_grouping(request.query_params)
        limit = parse_limit(request.query_params)
        return await self._ask(lambda: answer(self._store.aggregate(query, grouping, limit)))

    async def _ask(self, make_answer: Callable[[], Response]) -> Response:
        return await to_thread.run_sync(make_answer, limiter=self._query_threads)

    async def reindex(self, request: Request) -> Response:
        self._auth.require_api(request)
        started = now_utc()
        rebuilt = await self._rebuild()
        reset = ResetReport(
            entries_deleted=rebuilt.replaced.entries,
            fields_deleted=rebuilt.replaced.field_values or 0,
        )
        report = index_report(rebuilt.stats, started, now_utc())
        return answer(ReindexResponse(report=report, reset=reset))

    async def _rebuild(self) -> RebuildResult:
        """One rebuild in one thread, however many wait for it; who goes away does not stop it."""
        if self._rebuilding is None or self._rebuilding.done():
            run = to_thread.run_sync(self._sidecar.rebuilder.run, limiter=self._rebuild_thread)
            self._rebuilding = asyncio.create_task(run)
        return await asyncio.shield(self._rebuilding)

    async def alert_config(self, request: Request) -> Response:
        self._auth.require_api(request)
        policy = self._alerter.policy
        if request.method == "PUT":
            change = await self._read_json(request)
            policy = await to_thread.run_sync(self._alerter.change, change)
        shown = AlertPolicyResponse(**msgspec.structs.asdict(policy))
        return answer(AlertConfigResponse(config_path=str(self._alerter.path), policy=shown))

    async def test_webhook(self, request: Request) -> Response:
        self._auth.require_api(request)
        url = url_to_test(await self._read_json(request))
        if self._webhook_threads.available_tokens == 0:
            text = f"{_WEBHOOK_TESTS} webhooks are being tested, which is the limit: try again"
            raise HTTPException(503, text, RETRY)
        sent_ms, target = await to_thread.run_sync(
            self._alerter.send_test, url, limiter=self._webhook_threads
        )
        return answer(WebhookTestResponse(ok=True, sent_at=format_time(sent_ms), target_url=target))

    async def _read_json(self, request: Request) -> object:
        """A small body; an empty one counts as {}."""
        body = await self._slots.outside(_read_body(request, _MAX_JSON_BYTES))
        try:
            return parse_json(body)[0] if body.strip() else {}
        except NotARecordError as error:
            raise AlertPolicyError(f"the body is no valid JSON: {error}") from None

    async def openapi_json(self, request: Request) -> Response:
        return _document(await to_thread.run_sync(as_json), CONTENT_TYPE)

    async def openapi_yaml(self, request: Request) -> Response:
        return _document(await to_thread.run_sync(as_yaml), _YAML_TYPE)

    async def docs(self, request: Request) -> Response:
        return page()

    async def docs_script(self, request: Request) -> Response:
        return await to_thread.run_sync(script, request)

    async def ingest(self, request: Request) -> Response:
        if not self._sidecar.ingest_enabled:
            raise HTTPException(
                404, "ingest is off: set ingest producers, or Basic auth, to switch it on"
            )
        producer = self._auth.require_producer(request)
        request.scope[PRODUCER] = producer
        self._sidecar.require_free_space()
        body = await self._slots.outside(_read_body(request, self._max_body))
        received_at = receipt_time(now_utc())
        lines = await self._make_lines(request, body, producer, received_at)
        queued = self._queued and lines.accepted > 0
        if queued:
            self._writer.enqueue(lines)
        elif lines.accepted:
            await self._indexed(lines)
        self._metrics.ingested(lines.accepted, lines.rejected, len(body))
        received = IngestResponse(
            accepted=lines.accepted,
            queued=queued,
            producer_id=producer,
            received_at=received_at,
            rejected=lines.rejected,
        )
        return answer(received, 202 if queued else 200)

    async def _indexed(self, lines: IngestBatch) -> None:
        """Return when a query finds them. A client that goes away does not take them back."""
        loop = asyncio.get_running_loop()
        indexed: asyncio.Future[None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, indexed, error)

        self._writer.submit(lines, tell)
        await indexed

    async def _make_lines(
        self, request: Request, body: bytes, producer: str, received_at: str
    ) -> IngestBatch:
        encoding = request.headers.get("content-encoding", "").strip().lower()

        def make() -> IngestBatch:
            return make_lines(unpack_body(body, encoding, self._max_body), producer, received_at)

        is_large = len(body) > _LARGE_BODY or encoding == "gzip"
        return await to_thread.run_sync(make) if is_large else make()


def _settle(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _is_loopback(request: Request) -> bool:
    """Whether the other end of the connection is this machine, whatever headers say."""
    with suppress(ValueError):
        return request.client is not None and _address(request.client.host).is_loopback
    return False


def _is_forwarded(request: Request) -> bool:
    """Whether a proxy says that others ask: a header may take a right away, never give it."""
    return any(name in request.headers for name in _FORWARDED)


def _address(host: str) -> IPv4Address | IPv6Address:
    """Of IPv4, too, where a socket that serves both says ::ffff:127.0.0.1. Raises ValueError."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


async def _read_body(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise body_too_large(limit)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise body_too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise IngestError("the body ended too early") from None
    except asyncio.CancelledError:  # what a stop does when its patience is over
        raise IngestError("the server is stopping, and the body has not ended", 503) from None
    return b"".join(parts)


def _document(content: bytes, content_type: str) -> Response:
    return Response(content, headers={"content-type": content_type})
