"""Columns of codes, packed integers, masks and frames give back what they were made of."""

from array import array
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstandard import ZstdError

from mikroscope.stores.sqlite import masks
from mikroscope.stores.sqlite.columns import (
    Column,
    PackedColumn,
    choose,
    join_columns,
    make_column,
    pack_column,
)
from mikroscope.stores.sqlite.frames import pack, unpack
from mikroscope.stores.sqlite.integers import Integers, pack_integers

# Characters with a meaning where values are joined.
texts = st.one_of(
    st.text(st.sampled_from("a\\n\n\0\r\x1eé😀"), max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
cells = st.lists(st.one_of(st.none(), texts), min_size=1, max_size=30)


def unpack_integers(content: bytes) -> "array[int]":
    """Return all packed integers."""
    return Integers(content).all


def column_of(cells: Sequence[str | None]) -> Column:
    """Return a column of these values; None where an entry does not have the field."""
    places = [place for place, cell in enumerate(cells) if cell is not None]
    found = [cell for cell in cells if cell is not None]
    codes_of = {text: code for code, text in enumerate(dict.fromkeys(found), 1)}
    return make_column(len(cells), found, None if None not in cells else places, codes_of)


def cells_of(column: Column | PackedColumn) -> list[str | None]:
    """Return the value of each entry."""
    values = [None, *column.values]
    return [values[code] for code in column.codes]


def many(number: int) -> list[str | None]:
    """Return a number of different values, each of which two entries have, and gaps."""
    cells: list[str | None] = [None]
    for n in range(number):
        cells += [f"value {n}", None, f"value {n}"]
    return cells


@given(cells)
def test_round_trip(cells: list[str | None]) -> None:
    """Any values are there again after packing."""
    packed = PackedColumn(pack_column(column_of(cells)), len(cells))
    assert cells_of(packed) == cells_of(column_of(cells)) == cells
    packed.check()


@pytest.mark.parametrize("number", [0, 1, 254, 255, 256, 257, 511, 65_535])
def test_any_number_of_values(number: int) -> None:
    """A column has up to 65,535 values."""
    cells = many(number)
    packed = PackedColumn(pack_column(column_of(cells)), len(cells))
    assert cells_of(packed) == cells
    for wanted in (0, 1, 254, 255, 256, number - 1):
        code = packed.code_of(f"value {wanted}")
        assert bool(code) == (0 <= wanted < number)
        if code:
            expected = bytes(cell == f"value {wanted}" for cell in cells)
            assert packed.mask((code,)) == column_of(cells).mask((code,)) == expected


@given(cells, texts)
def test_code_of(cells: list[str | None], wanted: str) -> None:
    """The code of a value is found without reading the others; 0 if no entry has it."""
    column = column_of(cells)
    packed = PackedColumn(pack_column(column), len(cells))
    for value in (wanted, *(cell for cell in cells if cell is not None)):
        expected = column.values.index(value) + 1 if value in column.values else 0
        assert column.code_of(value) == expected
        assert packed.code_of(value) == expected


@given(cells, st.data())
def test_masks_and_counts(cells: list[str | None], data: st.DataObject) -> None:
    """Masks have the entries with some of the codes; counts those of a mask."""
    column = column_of(cells)
    codes = data.draw(st.sets(st.integers(0, len(column.values))))
    mask = bytes(data.draw(st.lists(st.integers(0, 1), min_size=len(cells), max_size=len(cells))))
    wanted = {None if not code else column.values[code - 1] for code in codes}
    in_mask = Counter(cell for cell, one in zip(cells, mask, strict=True) if one)
    for one in (column_of(cells), PackedColumn(pack_column(column), len(cells))):
        assert dict(one.counts()) == Counter(cell for cell in cells if cell is not None)
        assert one.mask(codes) == bytes(cell in wanted for cell in cells)
        assert numbers(one.count_in(None), one.values) == Counter(cells)
        assert numbers(one.count_in(mask), one.values) == in_mask


def numbers(counted: Counter[int], values: Sequence[str]) -> Counter[str | None]:
    """Return counts by value."""
    names = [None, *values]
    return Counter({names[code]: number for code, number in counted.items() if number})


@given(cells, st.lists(st.one_of(st.none(), cells), min_size=1, max_size=3))
def test_join(first: list[str | None], others: list[list[str | None] | None]) -> None:
    """Columns one behind the other have the values of all; None stands for no column."""
    parts: list[tuple[Column | None, int]] = [(column_of(first), len(first))]
    expected = list(first)
    for other in others:
        parts.append((column_of(other), len(other)) if other is not None else (None, 2))
        expected += other if other is not None else [None, None]
    assert cells_of(join_columns(parts)) == expected


@pytest.mark.parametrize(("one", "other"), [(255, 0), (200, 300), (255, 256), (300, 10)])
def test_join_many(one: int, other: int) -> None:
    """Narrow columns may become a wide one."""
    first, second = many(one), [f"other {n}" for n in range(other)]
    joined = join_columns([(column_of(first), len(first)), (column_of(second), other)])
    assert cells_of(joined) == [*first, *second]
    assert isinstance(joined.codes, bytes) == (one + other <= 255)


@given(cells, st.data())
def test_choose(cells: list[str | None], data: st.DataObject) -> None:
    """The column of some entries in another order has their values; None if there is none."""
    order = data.draw(st.permutations(range(len(cells))))
    places = order[: data.draw(st.integers(1, len(cells)))]
    new_places = [-1] * len(cells)
    for new, old in enumerate(places):
        new_places[old] = new
    expected = [cells[place] for place in places]
    chosen = choose(column_of(cells), places, new_places)
    if chosen is None:
        assert set(expected) == {None}
    else:
        assert cells_of(chosen) == expected
        assert len(chosen.values) == len(set(expected) - {None})


def test_sparse_columns_stay_small() -> None:
    """A column of few of many entries has codes for these only, also joined and chosen."""
    cells: list[str | None] = [None] * 1000
    cells[7] = cells[900] = "v"
    one = column_of(cells)
    joined = join_columns([(one, 1000), (None, 50), (one, 1000)])
    back = [place - 1 for place in range(1001)]
    chosen = choose(one, range(1, 1000), back[:1000])
    assert chosen is not None
    for column, places in ((one, [7, 900]), (joined, [7, 900, 1057, 1950]), (chosen, [6, 899])):
        assert list(column.stored()[1] or ()) == places
        assert column.present == len(places)
        assert list(column.items()[0]) == places
    assert cells_of(joined) == [*cells, *[None] * 50, *cells]


@given(cells, st.data())
def test_a_damaged_column(cells: list[str | None], data: st.DataObject) -> None:
    """With a byte changed, a column is as before or raises ZstdError."""
    content = bytearray(pack_column(column_of(cells)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        column = PackedColumn(bytes(content), len(cells))
        column.check()
    except ZstdError:
        return
    assert cells_of(column) == cells


# --- integers -----------------------------------------------------------------------------------

integers = st.lists(
    st.one_of(st.integers(-(2**61), 2**61), st.integers(0, 300), st.just(1_770_000_000_000)),
    max_size=40,
)


@given(integers)
def test_integers(some: list[int]) -> None:
    """Any integers are there again after packing."""
    assert list(unpack_integers(pack_integers(some))) == some


@pytest.mark.parametrize("step", [0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40])
def test_steps(step: int) -> None:
    """Steps of any size, up and down, are there again."""
    some = [*range(0, 9 * step + 1, step or 1), 0, step, 0]
    assert list(unpack_integers(pack_integers(some))) == some
    assert unpack_integers(pack_integers(array("q", some))).typecode == "q"


@given(integers, st.data())
def test_damaged_integers(some: list[int], data: st.DataObject) -> None:
    """With a byte changed, integers are as before or raise ZstdError."""
    content = bytearray(pack_integers(some))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = list(unpack_integers(bytes(content)))
    except ZstdError:
        return
    assert found == some


# --- masks and frames ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_masks(pairs: list[tuple[bool, bool]]) -> None:
    """Masks are combined entry by entry."""
    one, other = (bytes(pair[place] for pair in pairs) for place in (0, 1))
    size = len(pairs)
    assert masks.both(one, other) == bytes(a and b for a, b in pairs)
    assert masks.any_of((one, other), size) == bytes(a or b for a, b in pairs)
    assert masks.any_of((), size) == bytes(size)
    assert masks.others(one) == bytes(not a for a, _ in pairs)
    places = [place for place in range(size) if one[place]]
    assert list(masks.places_in(one)) == places[::-1]
    assert masks.mask_at(places, size) == one


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_mask_between(start: int, more: int, rest: int) -> None:
    """A range of places is a mask."""
    end = start + more
    expected = bytes(start <= place < end for place in range(end + rest))
    assert masks.mask_between(start, end, end + rest) == expected


@given(st.binary(max_size=500), st.data())
def test_frames(content: bytes, data: st.DataObject) -> None:
    """A frame is unpacked as it was; with a byte changed as it was or not at all."""
    frame = bytearray(pack(content))
    assert unpack(bytes(frame)) == content
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(frame))
    except ZstdError:
        return
    assert found == content


@pytest.mark.parametrize("length", range(5))
def test_short_headers(length: int) -> None:
    """What is cut off is damage."""
    content = pack_column(column_of(["a"]))
    with pytest.raises(ZstdError):
        PackedColumn(content[:length], 1)
    with pytest.raises(ZstdError):
        unpack_integers(pack_integers([1, 2])[:length])
