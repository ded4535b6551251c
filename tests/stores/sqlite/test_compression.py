"""Lines compressed with trained dictionaries unpack exactly; training runs when it pays off."""

import contextlib
import json
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.timestamps import format_time, parse_time
from mikroscope.stores.sqlite import compression as packing
from mikroscope.stores.sqlite.compression import Dictionary, Packer, restore_time, strip_time

TIME = "2026-02-18T10:20:00.000Z"


def orders(count: int, seed: int = 1) -> list[bytes]:
    """Return lines of one kind."""
    chance = random.Random(seed)
    return [
        json.dumps({"event": "order.created", "orderId": chance.randrange(10**9), "n": n}).encode()
        for n in range(count)
    ]


def noise(count: int) -> list[bytes]:
    """Return lines that have nothing in common."""
    chance = random.Random(2)
    return [chance.randbytes(60).hex().encode() for _ in range(count)]


def trained() -> Packer:
    """Return a packer with a dictionary for orders."""
    packer = Packer()
    packer.observe(orders(packing.SAMPLE_LINES))
    assert packer.train() is not None
    return packer


def count_lines(packer: Packer, lines: list[bytes], times: int = 1) -> None:
    """Record in a packer how well lines were packed, as if there had been many."""
    raw, packed = sum(map(len, lines)), sum(len(packer.current.pack(line)) for line in lines)
    packer.count(len(lines) * times, raw * times, packed * times)


ENOUGH = packing.RETRAIN_AFTER_LINES // 1000


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    """A dictionary for orders."""
    return trained().current


@given(st.binary())
def test_round_trip_without_dictionary(raw: bytes) -> None:
    """A line packed without a dictionary unpacks to the same bytes."""
    none = Dictionary(0, b"")
    assert none.unpack(none.pack(raw)) == raw


@given(st.one_of(st.binary(), st.sampled_from(orders(50, seed=3))))
def test_round_trip_with_dictionary(dictionary: Dictionary, raw: bytes) -> None:
    """A line packed with a dictionary unpacks to the same bytes."""
    assert dictionary.unpack(dictionary.pack(raw)) == raw


def test_large_lines(dictionary: Dictionary) -> None:
    """A line of megabytes is packed like any other."""
    raw = b"".join(orders(50_000))
    assert dictionary.unpack(dictionary.pack(raw)) == raw


def test_many_lines_at_once(dictionary: Dictionary) -> None:
    """Contents that are packed together unpack like those that are packed one by one."""
    for lines in ([], orders(1), orders(9)):
        packed = dictionary.pack_all(lines)
        assert [dictionary.unpack(one) for one in packed] == lines


@given(st.binary(min_size=1), st.data())
def test_damage_is_noticed(dictionary: Dictionary, raw: bytes, data: st.DataObject) -> None:
    """With a byte changed, a line does not unpack, or to the same bytes."""
    packed = bytearray(dictionary.pack(raw))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(zstandard.ZstdError):
        assert dictionary.unpack(bytes(packed)) == raw


def test_a_dictionary_that_was_stored(dictionary: Dictionary) -> None:
    """A dictionary that is restored from its content unpacks earlier lines."""
    again = Dictionary(dictionary.number, dictionary.content)
    assert [again.unpack(dictionary.pack(line)) for line in orders(9)] == orders(9)


def test_a_dictionary_pays(dictionary: Dictionary) -> None:
    """With its dictionary a line takes less than half the space that it takes alone."""
    alone = Dictionary(0, b"")
    lines = orders(100, seed=4)
    assert sum(len(dictionary.pack(one)) for one in lines) * 2 < sum(
        len(alone.pack(one)) for one in lines
    )


def test_the_first_training() -> None:
    """The first dictionary is trained as soon as there are enough lines."""
    packer = Packer()
    packer.observe(orders(packing.MIN_SAMPLE_LINES - 1))
    early = packer.train()
    packer.observe(orders(1))
    first = packer.train()
    assert early is None
    assert first is not None
    assert (first.number, packer.current, packer.wants_sample) == (1, first, False)


def test_training_happens_once() -> None:
    """A packer with a dictionary that fits never trains another."""
    packer = trained()
    for _ in range(5):
        packer.observe(orders(2000))
        count_lines(packer, orders(1000), ENOUGH)
        assert packer.train() is None
    assert packer.current.number == 1


def test_training_when_the_data_changes() -> None:
    """When lines compress much worse than at first, another dictionary is trained."""
    packer = trained()
    count_lines(packer, orders(1000), ENOUGH)
    assert packer.train() is None
    others = [
        line.replace(b"order", b"invoice of somebody else") + one
        for line, one in zip(orders(2000), noise(2000), strict=True)
    ]
    packer.observe(others)
    count_lines(packer, others[:1000], ENOUGH)
    second = packer.train()
    assert second is not None
    assert (second.number, packer.current) == (2, second)


def test_no_training_after_a_few_lines() -> None:
    """A few badly packed lines do not lead to another dictionary."""
    packer = trained()
    count_lines(packer, orders(1000), ENOUGH)
    packer.train()
    packer.observe(noise(2000))
    count_lines(packer, noise(1000))
    assert packer.train() is None


def test_old_lines_after_another_training() -> None:
    """Lines packed with an old dictionary unpack with that dictionary."""
    first = trained().current
    packed = [first.pack(line) for line in orders(20)]
    packer = Packer(Dictionary(first.number, first.content), next_number=2)
    packer.observe(noise(2000))
    kept = {first.number: packer.current}
    assert [kept[1].unpack(one) for one in packed] == orders(20)


def test_numbers_go_on() -> None:
    """A packer continues the numbers of the stored dictionaries."""
    packer = Packer(next_number=7)
    packer.observe(orders(2000))
    packer.train()
    assert packer.current.number == 7


@pytest.mark.parametrize("lines", [[b"{}"] * 2000, [b"x"] * 2000, [b""] * 2000], ids=repr)
def test_training_that_fails(lines: list[bytes]) -> None:
    """If no dictionary can be trained on the lines, they are packed without one."""
    packer = Packer()
    packer.observe(lines)
    for _ in range(3):
        packer.train()
    assert packer.current.unpack(packer.current.pack(lines[0])) == lines[0]


def test_training_again_after_a_failure() -> None:
    """After a failed training, other lines lead to a dictionary."""
    packer = Packer()
    packer.observe([b"{}"] * 2000)
    packer.train()
    packer.observe(orders(2000))
    packer.train()
    assert packer.current.number == 1


# --- times that are not stored --------------------------------------------------------------------


@given(st.integers(0, 4_102_444_799_999))
def test_a_time_is_put_back(milliseconds: int) -> None:
    """A time that equals the key's is removed from the line and restored exactly."""
    text = format_time(milliseconds)
    raw = json.dumps({"a": 1, "time": text}).encode()
    taken = strip_time(raw, text)
    assert len(taken) == len(raw) - 23
    assert restore_time(taken, milliseconds) == raw


@pytest.mark.parametrize(
    "raw",
    [
        f'{{"time":"{TIME}"}}',
        f'{{"a":"{TIME}","time":"{TIME}","b":"{TIME}"}}',
        f'{{"{TIME}":"{TIME}"}}',
        f'{{"a":"{TIME}{TIME}"}}',
        '{"time":"2026-02-18T10:20:00\\u002e000Z"}',
        '{"time":"\\u0001"}',
    ],
)
def test_lines_that_have_a_time(raw: str) -> None:
    """Wherever a line has its time, the line is restored byte for byte."""
    milliseconds = parse_time(TIME)
    assert milliseconds is not None
    assert restore_time(strip_time(raw.encode(), TIME), milliseconds) == raw.encode()


@pytest.mark.parametrize(
    "value",
    [
        1770000000,
        None,
        {"seconds": 1},
        "2026-02-18T10:20:00Z",
        "2026-02-18T10:20:00.000+00:00",
        "2026-02-18T10:20:00.000000Z",
        "2026-02-18T10:20:00,000Z",
        "2026-02-18 10:20:00.000Z",
        "2026-02-18T10:20:00.000z",
        "2026-02-18T23:59:60.000Z",
        "2026-02-18T24:00:00.000Z",
        "٢٠٢٦-02-18T10:20:00.000Z",
    ],
)
def test_times_that_stay(value: object) -> None:
    """A time that cannot be restored exactly stays in the line."""
    raw = json.dumps({"time": value}, ensure_ascii=False).encode()
    assert strip_time(raw, value) == raw
