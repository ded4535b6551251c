"""`/api/logs` and what is below it: queries the index."""

from collections.abc import Callable

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.query.model import Aggregate, Page
from mikroscope.query.parameters import (
    CURSOR,
    FILTERS,
    GROUPING,
    LIMIT,
    parse_grouping,
    parse_limit,
    parse_page,
    parse_query,
)
from mikroscope.server.openapi.model import (
    BAD_QUERY,
    NO_API_CREDENTIALS,
    UNAVAILABLE,
    Operation,
    ResponseDoc,
    query_parameters,
)
from mikroscope.server.responses import RETRY, json_response
from mikroscope.server.routes.endpoint import Context, answers, parameters_of

_QUERY_THREADS = 40
_LARGE_PAGE = 200  # entries; larger pages have threads of their own, so that small ones go first
_LARGE_PAGE_THREADS = 4
_LARGE_PAGES_WAITING = 64  # more would take the slots of other requests

_LOGS = Operation(
    method="GET",
    path="/api/logs",
    name="queryLogs",
    tag="Logs",
    access="api",
    summary="Get a page of entries",
    text=(
        "Newest first. Entries with the same millisecond: last received first. An entry must match "
        "every filter that is given; an empty parameter counts as not given."
    ),
    parameters=query_parameters(*FILTERS, LIMIT, CURSOR),
    responses={
        200: ResponseDoc("The page.", Page),
        400: BAD_QUERY,
        401: NO_API_CREDENTIALS,
        503: UNAVAILABLE,
    },
)
_AGGREGATE = Operation(
    method="GET",
    path="/api/logs/aggregate",
    name="aggregateLogs",
    tag="Logs",
    access="api",
    summary="Count entries by value",
    text=(
        "Highest count first, then by key. Entries without the field are counted as `(missing)`."
    ),
    parameters=query_parameters(*GROUPING, *FILTERS, LIMIT),
    responses={
        200: ResponseDoc("The counts.", Aggregate),
        400: BAD_QUERY,
        401: NO_API_CREDENTIALS,
        503: UNAVAILABLE,
    },
)


class SearchRoutes:
    """Queries the store in threads of their own, so that no other work waits for a query."""

    def __init__(self, context: Context) -> None:
        self._store = context.sidecar.store
        self._auth = context.auth
        self._threads = CapacityLimiter(_QUERY_THREADS)
        self._large_page_threads = CapacityLimiter(_LARGE_PAGE_THREADS)

    @answers(_LOGS)
    async def logs(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters = parameters_of(request, _LOGS)
        query, page = parse_query(parameters), parse_page(parameters)
        threads = self._threads if page.limit <= _LARGE_PAGE else self._for_large_page()
        return await self._in_thread(
            threads, lambda: json_response(self._store.search(query, page))
        )

    @answers(_AGGREGATE)
    async def aggregate(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters = parameters_of(request, _AGGREGATE)
        grouping, query = parse_grouping(parameters), parse_query(parameters)
        limit = parse_limit(parameters)
        return await self._in_thread(
            self._threads, lambda: json_response(self._store.aggregate(query, grouping, limit))
        )

    def _for_large_page(self) -> CapacityLimiter:
        """The threads for large pages. Raises 503 if too many wait for them."""
        if self._large_page_threads.statistics().tasks_waiting >= _LARGE_PAGES_WAITING:
            text = f"too many pages of more than {_LARGE_PAGE} entries are waiting: try again"
            raise HTTPException(503, text, RETRY)
        return self._large_page_threads

    @staticmethod
    async def _in_thread(threads: CapacityLimiter, make: Callable[[], Response]) -> Response:
        return await to_thread.run_sync(make, limiter=threads)
