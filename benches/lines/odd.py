"""Records that are hard to index: wide ones of many shapes, of many names, of unique values."""

import json
from collections.abc import Iterable, Iterator
from itertools import accumulate
from random import Random

from benches.lines.plain import LEVELS, MESSAGES, plain_lines

SHAPES = 10_000  # different tuples of field names
FIELDS = 60  # of each record with many shapes
ATTRIBUTES = 120  # from which the fields of a shape are taken
VALUES = 64  # at most, of an attribute
NAMES = 40_000
NAMES_A_RECORD = 8
UNIQUE_FIELDS = 50
DIGITS = 8  # of a unique value
WORDS = (
    *("retry", "timeout", "queue", "shard", "ledger", "invoice", "customer", "payment"),
    *("socket", "upstream", "latency", "budget", "declined", "größe", "東京", "two words"),
)
_FIXED = 4  # timestamp, level, message, correlationId


def shaped_lines(moments: Iterable[str], rng: Random) -> Iterator[bytes]:
    """Yield records of FIELDS fields each, in one of SHAPES choices and orders of their names."""
    chance = rng.random
    attributes = [_values_of(f"attribute{number:03}", rng) for number in range(ATTRIBUTES)]
    shapes = [rng.sample(attributes, FIELDS - _FIXED) for _ in range(SHAPES)]
    for moment in moments:
        shape = shapes[int(SHAPES * chance())]
        fields = ",".join([values[int(VALUES * chance())] for values in shape])
        yield (
            f'{{{_head(moment, rng)},"correlationId":"{rng.getrandbits(64):016x}",{fields}}}\n'
        ).encode()


def _values_of(name: str, rng: Random) -> list[str]:
    """Return a field with each of its values, as JSON."""
    makers = (
        lambda: rng.choice(WORDS),
        lambda: rng.randrange(2000),
        lambda: rng.random() < 0.5,
        lambda: round(rng.random(), 4),
    )
    make = rng.choice(makers)
    return [f'"{name}":{json.dumps(make(), ensure_ascii=False)}' for _ in range(VALUES)]


def named_lines(moments: Iterable[str], rng: Random) -> Iterator[bytes]:
    """Yield plain records with NAMES_A_RECORD more fields, whose names are among NAMES."""
    chance, each = rng.random, NAMES // NAMES_A_RECORD
    starts = list(accumulate([each] * (NAMES_A_RECORD - 1), initial=0))
    for line in plain_lines(moments, rng):
        more = [
            f'"name{start + int(each * chance()):05}":"{WORDS[int(len(WORDS) * chance())]}"'
            for start in starts
        ]
        yield b"%b,%b}\n" % (line[: -len(b"}\n")], ",".join(more).encode())


def unique_lines(moments: Iterable[str], rng: Random) -> Iterator[bytes]:
    """Yield records with UNIQUE_FIELDS fields, each of whose values occurs only once."""
    names = [f'"unique{number:02}":"' for number in range(UNIQUE_FIELDS)]
    for moment in moments:
        digits = f"{rng.getrandbits(4 * DIGITS * UNIQUE_FIELDS):0{DIGITS * UNIQUE_FIELDS}x}"
        fields = [
            f'{name}{digits[DIGITS * number : DIGITS * (number + 1)]}"'
            for number, name in enumerate(names)
        ]
        yield f"{{{_head(moment, rng)},{','.join(fields)}}}\n".encode()


def _head(moment: str, rng: Random) -> str:
    """Return the time, the level and the message as JSON."""
    _, message = rng.choice(MESSAGES)
    text = message.format(rng.randrange(100_000))
    return f'"timestamp":"{moment}","level":"{rng.choice(LEVELS)}","message":"{text}"'
