"""Plain records: what a service writes on a good day, about 350 bytes and thirteen fields each."""

from collections.abc import Iterable, Iterator
from itertools import product
from random import Random
from typing import NamedTuple

TENANTS = 320
USERS = 50_000
HOSTS = 24

LEVELS = ("INFO",) * 80 + ("DEBUG",) * 12 + ("WARN",) * 5 + ("ERROR",) * 3
STATUSES = {"INFO": (200, 201, 204), "DEBUG": (200,), "WARN": (404, 409, 429), "ERROR": (500, 503)}
SERVICES = ("checkout", "billing", "catalog", "search", "auth", "shipping", "notifications")
ROUTES = tuple(
    f"/api/v2/{thing}{rest}"
    for thing in ("orders", "payments", "products", "carts", "users", "shipments", "invoices")
    for rest in ("", "/:id", "/:id/history")
)
# (event, message of five to nine words, one of them a number that changes)
MESSAGES = (
    ("order.placed", "order with {} items placed by customer"),
    ("payment.authorized", "payment authorized after {} ms by card network"),
    ("cache.read", "cache returned {} entries from region"),
    ("stock.reserved", "reserved {} pieces in the nearest warehouse"),
    ("query.executed", "query over six shards found {} products"),
    ("session.refreshed", "session refreshed for another {} minutes"),
    ("email.queued", "confirmation email queued behind {} other messages today"),
    ("delivery.retried", "delivery attempt {} failed and was scheduled once again"),
    ("label.printed", "shipping label {} printed at the counter"),
    ("invoice.rendered", "invoice rendered on {} pages for download"),
)
ORDER_PARTS = tuple(map("".join, product("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", repeat=3)))
KINDS = 4000  # a multiple of len(LEVELS), so that the shares of the levels come out exactly


class Kind(NamedTuple):
    """A kind of plain record: its text around the number in its message, and its status."""

    before: str
    after: str
    status: int


def plain_lines(moments: Iterable[str], rng: Random) -> Iterator[bytes]:
    """Yield the records of one request after the other, three to five each."""
    chance = rng.random
    kinds = _kinds(rng)
    left, ids, routing = 0, "", ""
    for moment in moments:
        if not left:
            left = int(3 + 3 * chance())
            ids, routing = _ids(rng), _routing(rng)
        left -= 1
        before, after, status = kinds[int(KINDS * chance())]
        line = (
            f'{{"timestamp":"{moment}",{before}{int(100_000 * chance())}{after},{ids},'
            f'"durationMs":{int(1 + 1900 * chance())},"statusCode":{status},{routing}}}\n'
        )
        yield line.encode()


def _kinds(rng: Random) -> list[Kind]:
    return [_kind(rng, LEVELS[index % len(LEVELS)]) for index in range(KINDS)]


def _kind(rng: Random, level: str) -> Kind:
    event, message = rng.choice(MESSAGES)
    before, after = message.split("{}")
    return Kind(
        f'"level":"{level}","event":"{event}","message":"{before}',
        f'{after}","service":"{rng.choice(SERVICES)}"',
        rng.choice(STATUSES[level]),
    )


def _ids(rng: Random) -> str:
    """Return the ids that the records of one request share."""
    chance = rng.random
    order = "".join([ORDER_PARTS[int(len(ORDER_PARTS) * chance())] for _ in range(4)])
    return (
        f'"tenantId":"tenant-{int(TENANTS * chance()):03}",'
        f'"correlationId":"{rng.getrandbits(64):016x}",'
        f'"userId":"user-{int(USERS * chance()):05}","orderId":"{order}"'
    )


def _routing(rng: Random) -> str:
    host = int(HOSTS * rng.random())
    return f'"route":"{rng.choice(ROUTES)}","host":"shop-{host:02}.internal"'
