"""Writes the benchmark corpora: seeded NDJSON of any length, spread evenly over thirty days.

    python -m benches.corpus OUT --records N --shape plain --seed 1

`plain` is what a service writes on a good day: about 350 bytes and thirteen fields per record.
`ragged` is everything else: 3 to 60 fields, nested objects, long messages and stacks.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

Shape = Literal["plain", "ragged"]

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
MINUTE_MS = 60_000
SPAN_MS = DAYS * 24 * 60 * MINUTE_MS
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
BODIES = 2000
CHUNK = 4096  # lines a write


class Kind(NamedTuple):
    """A kind of plain record: its text around the number in its message, and its status."""

    before: str
    after: str
    status: int


def write_corpus(path: Path, records: int, seed: int = 1, shape: Shape = "plain") -> int:
    """Write `records` lines to `path`, the same bytes for the same arguments; return their size.

    Times ascend from START in even steps, the last one before START plus SPAN_MS.
    """
    lines = SHAPES[shape](records, Random(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        while chunk := b"".join(islice(lines, CHUNK)):
            out.write(chunk)
        return out.tell()


def timestamps(records: int) -> Iterator[str]:
    """Yield ascending ISO 8601 times in UTC, joined from parts that are formatted once."""
    minutes = [
        (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:")
        for minute in range(SPAN_MS // MINUTE_MS)
    ]
    rests = [f"{ms // 1000:02}.{ms % 1000:03}Z" for ms in range(MINUTE_MS)]
    for index in range(records):
        minute, rest = divmod(index * SPAN_MS // records, MINUTE_MS)
        yield minutes[minute] + rests[rest]


def plain_lines(records: int, rng: Random) -> Iterator[bytes]:
    """Yield the records of one request after the other, three to five each."""
    chance = rng.random
    kinds = _kinds(rng)
    left, ids, routing = 0, "", ""
    for moment in timestamps(records):
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


def ragged_lines(records: int, rng: Random) -> Iterator[bytes]:
    """Yield records of every size; those with a correlation id share it with up to four others."""
    bodies = [_body(rng) for _ in range(BODIES)]
    left, ident = 0, b""
    for moment in timestamps(records):
        if not left:
            left, ident = int(1 + 5 * rng.random()), b"%016x" % rng.getrandbits(64)
        left -= 1
        body = bodies[int(BODIES * rng.random())]
        yield b'{"timestamp":"%b",%b\n' % (moment.encode(), ident.join(body))


IDENT = "@ident@"  # replaced by an id of its own in each line
WORDS = (
    *("retry", "timeout", "queue", "shard", "ledger", "invoice", "customer", "payment", "socket"),
    *("upstream", "latency", "budget", "exceeded", "cache", "declined", "größe", "naïve", "東京"),
    *("🚚", '"quoted"', "back\\slash", "tab\there", "line\nbreak"),
)


def _body(rng: Random) -> list[bytes]:
    """Return a record without its time, as JSON split where the line's own id goes."""
    # Squared: small records are common, large ones rare.
    extras = int(58 * rng.random() ** 2)
    record = {"level": rng.choice(LEVELS), "message": f"{_text(rng)} id={IDENT}"}
    for name in rng.sample(sorted(MAKERS), extras):
        record[name] = MAKERS[name](rng)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.removeprefix("{").encode().split(IDENT.encode())


def _text(rng: Random) -> str:
    """Return mostly a few words, occasionally a few thousand characters."""
    return " ".join(rng.choices(WORDS, k=3 + int(400 * rng.random() ** 8)))


def _error(rng: Random) -> dict[str, str]:
    frames = [
        f"    at step{rng.randrange(90)} (/app/lib/{rng.choice(SERVICES)}.js:{rng.randrange(900)})"
        for _ in range(rng.randrange(4, 30))
    ]
    message = " ".join(rng.choices(WORDS, k=6))
    return {"type": "Error", "message": message, "stack": "\n".join([f"Error: {message}", *frames])}


def _nested(rng: Random) -> dict[str, Any]:
    """Return objects within objects, one to five deep."""
    inner: Any = _scalar(rng)
    for _ in range(rng.randrange(1, 6)):
        inner = {rng.choice(SERVICES): inner, "count": rng.randrange(1000)}
    return {"of": inner}


def _scalar(rng: Random) -> str | int | float | bool | None:
    made = (rng.randrange(10**9), round(rng.random(), 6), True, False, None, rng.choice(WORDS))
    return rng.choice(made)


Maker = Callable[[Random], Any]
MAKERS: dict[str, Maker] = {
    "correlationId": lambda rng: IDENT,
    "tenantId": lambda rng: f"tenant-{rng.randrange(TENANTS):03}",
    "service": lambda rng: rng.choice(SERVICES),
    "durationMs": lambda rng: rng.randrange(2000),
    "error": _error,
    "http": lambda rng: {"request": {"method": "GET", "route": rng.choice(ROUTES)}, "status": 200},
    "note": _text,
    "tags": lambda rng: rng.choices(WORDS, k=rng.randrange(8)),
    "items": lambda rng: [{"sku": rng.choice(ORDER_PARTS), "n": 1}] * rng.randrange(6),
    **{f"context{number}": _nested for number in range(8)},
    **{f"attribute{number}": _scalar for number in range(40)},
}
SHAPES: dict[Shape, Callable[[int, Random], Iterator[bytes]]] = {
    "plain": plain_lines,
    "ragged": ragged_lines,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("--records", type=int, required=True, help="how many lines")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="plain")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    size = write_corpus(given.out, given.records, given.seed, given.shape)
    seconds = time.perf_counter() - began
    rate = given.records / seconds
    print(f"{given.records:,} records, {size:,} bytes, {seconds:.1f} s, {rate:,.0f} records/s")


if __name__ == "__main__":
    main()
