"""Writes the benchmark corpora: seeded NDJSON of any length.

    python -m benches.corpus OUT --records N --shape plain --seed 1

`plain` is what a service writes on a good day: about 350 bytes and thirteen fields per record,
spread evenly over thirty days. `ragged` is everything else: 3 to 60 fields, nested objects, long
messages and stacks. The others are each hard to index in one way:

- `late-1`, `late-10`: plain, but 1 % or 10 % of the lines come up to five days late;
- `days`, `any-day`: plain, but spread over 5,000 days, in order or in no order;
- `shapes`: sixty fields a record, in 10,000 choices and orders of their names;
- `names`: plain with eight fields more, whose names are among 40,000;
- `unique`: fifty fields a record, each of whose values occurs only once.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Literal, get_args

from benches.lines import moments
from benches.lines.odd import named_lines, shaped_lines, unique_lines
from benches.lines.plain import plain_lines
from benches.lines.ragged import ragged_lines

Shape = Literal[
    "plain", "ragged", "late-1", "late-10", "days", "any-day", "shapes", "names", "unique"
]
ODD_SHAPES: tuple[Shape, ...] = get_args(Shape)[2:]
CHUNK = 4096  # lines a write


def write_corpus(path: Path, records: int, seed: int = 1, shape: Shape = "plain") -> int:
    """Write `records` lines to `path`, the same bytes for the same arguments; return their size."""
    lines = SHAPES[shape](records, Random(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        while chunk := b"".join(islice(lines, CHUNK)):
            out.write(chunk)
        return out.tell()


SHAPES: dict[Shape, Callable[[int, Random], Iterator[bytes]]] = {
    "plain": lambda records, rng: plain_lines(moments.even(records), rng),
    "ragged": lambda records, rng: ragged_lines(moments.even(records), rng),
    "late-1": lambda records, rng: plain_lines(moments.partly_late(records, rng, 0.01), rng),
    "late-10": lambda records, rng: plain_lines(moments.partly_late(records, rng, 0.1), rng),
    "days": lambda records, rng: plain_lines(moments.over_many_days(records), rng),
    "any-day": lambda records, rng: plain_lines(moments.of_any_day(records, rng), rng),
    "shapes": lambda records, rng: shaped_lines(moments.even(records), rng),
    "names": lambda records, rng: named_lines(moments.even(records), rng),
    "unique": lambda records, rng: unique_lines(moments.even(records), rng),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("--records", type=int, required=True, help="how many lines")
    parser.add_argument("--shape", choices=SHAPES, default="plain")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    size = write_corpus(given.out, given.records, given.seed, given.shape)
    seconds = time.perf_counter() - began
    rate = given.records / seconds
    print(f"{given.records:,} records, {size:,} bytes, {seconds:.1f} s, {rate:,.0f} records/s")


if __name__ == "__main__":
    main()
