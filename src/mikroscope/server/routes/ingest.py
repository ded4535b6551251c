"""`/api/ingest`: takes records from producers."""

import asyncio
from contextlib import suppress

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.ingest.batch import IngestBatch
from mikroscope.ingest.encoding import unpack_body
from mikroscope.ingest.native import MAX_RECORDS, make_batch
from mikroscope.records.timestamps import format_moment
from mikroscope.server.middleware.access_log import PRODUCER
from mikroscope.server.openapi.model import (
    SLOW_BODY,
    TEXT_SCHEMA,
    Operation,
    Parameter,
    Payload,
    ResponseDoc,
)
from mikroscope.server.responses import json_response
from mikroscope.server.routes.body import read_body
from mikroscope.server.routes.endpoint import Context, answers, parameters_of
from mikroscope.server.schemas import IngestResponse
from mikroscope.sidecar import now_utc

_LARGE_BODY = 65_536  # bytes; from this size on, a thread parses the body

_INGEST = Operation(
    method="POST",
    path="/api/ingest",
    name="ingestLogs",
    tag="Logs",
    access="producer",
    summary="Send logs",
    text=(
        "The body is an array of records, an object with such an array as `logs`, a single record, "
        "or NDJSON: one record per line. NDJSON is recognised by its content type "
        "(`application/x-ndjson`, `application/jsonl` and similar), or by several lines that are "
        "not one JSON text.\n\n"
        "The server sets two fields in each record: `producerId`, from the credentials, and "
        "`ingestedAt`. Items that are not objects are rejected; the others are accepted. A line "
        "that is not JSON is an error, and nothing is stored."
    ),
    parameters=(
        Parameter(
            "Content-Encoding",
            "`gzip`, if the body is compressed; the size limit applies after decompression.",
            TEXT_SCHEMA,
            place="header",
        ),
    ),
    payload=Payload(
        "IngestBody",
        [
            {
                "level": "INFO",
                "event": "order.created",
                "message": "Order created",
                "orderId": "ORD-123",
            }
        ],
        lines={"level": "INFO", "message": "Order created", "orderId": "ORD-123"},
    ),
    responses={
        200: ResponseDoc(
            "The records are in the log file; the next query finds them.", IngestResponse
        ),
        202: ResponseDoc(
            "The records are in the queue (`--ingest-async-queue`) and will be written soon.",
            IngestResponse,
        ),
        400: ResponseDoc(
            "The body, or the line that the text names, is not JSON, or not of the expected shape."
        ),
        401: ResponseDoc(
            "The producer's token, or the Basic auth user, is missing or wrong.",
            headers=("WWW-Authenticate",),
        ),
        404: ResponseDoc("Ingest is off: neither producers nor Basic auth are configured."),
        408: SLOW_BODY,
        413: ResponseDoc(
            f"More than `--ingest-max-body-bytes` after decompression, or {MAX_RECORDS:,} records."
        ),
        415: ResponseDoc("A `content-encoding` other than gzip."),
        503: ResponseDoc(
            "The queue or the disk is full. Nothing was stored: send again later.",
            headers=("Retry-After",),
        ),
    },
)


class IngestRoutes:
    """Takes records: checks the producer, then writes and indexes, or queues."""

    def __init__(self, context: Context) -> None:
        settings = context.sidecar.settings
        self._sidecar = context.sidecar
        self._writer = context.sidecar.writer
        self._auth = context.auth
        self._metrics = context.metrics
        self._slots = context.slots
        self._queued = settings.ingest_async_queue
        self._max_body = settings.ingest_max_body_bytes

    @answers(_INGEST)
    async def ingest(self, request: Request) -> Response:
        if not self._sidecar.ingest_enabled:
            raise HTTPException(
                404,
                "Ingest endpoint is not enabled: start the server with --ingest-producers "
                "TOKEN=NAME, or with --auth-username and --auth-password",
            )
        producer = self._auth.require_producer(request)
        request.scope[PRODUCER] = producer
        parameters_of(request, _INGEST)
        self._sidecar.require_free_space()
        body = await self._slots.outside(read_body(request, self._max_body))
        received_at = format_moment(now_utc())
        batch = await self._make_batch(request, body, producer, received_at)
        queued = self._queued and batch.accepted > 0
        if queued:
            self._writer.enqueue(batch)
        elif batch.accepted:
            await self._index(batch)
        self._metrics.ingested(batch.accepted, batch.rejected, len(body))
        received = IngestResponse(
            accepted=batch.accepted,
            queued=queued,
            producer_id=producer,
            received_at=received_at,
            rejected=batch.rejected,
        )
        return json_response(received, 202 if queued else 200)

    async def _make_batch(
        self, request: Request, body: bytes, producer: str, received_at: str
    ) -> IngestBatch:
        """Parse the body, a large one in a thread."""
        encoding = request.headers.get("content-encoding", "").strip().lower()
        content_type = request.headers.get("content-type", "")

        def make() -> IngestBatch:
            content = unpack_body(body, encoding, self._max_body)
            return make_batch(content, producer, received_at, content_type)

        is_large = len(body) > _LARGE_BODY or encoding == "gzip"
        return await to_thread.run_sync(make) if is_large else make()

    async def _index(self, batch: IngestBatch) -> None:
        """Return when queries find the records. A client that disconnects does not cancel this."""
        loop = asyncio.get_running_loop()
        indexed: asyncio.Future[None] = loop.create_future()

        def on_done(error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, indexed, error)

        self._writer.submit(batch, on_done)
        await indexed


def _settle(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():  # cancelled: nothing waits for it
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
