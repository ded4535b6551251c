"""Ragged records: 3 to 60 fields, nested objects, long messages and stacks."""

import json
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from benches.lines.plain import LEVELS, ORDER_PARTS, ROUTES, SERVICES, TENANTS

BODIES = 2000


def ragged_lines(moments: Iterable[str], rng: Random) -> Iterator[bytes]:
    """Yield records of every size; those with a correlation id share it with up to four others."""
    bodies = [_body(rng) for _ in range(BODIES)]
    left, ident = 0, b""
    for moment in moments:
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
