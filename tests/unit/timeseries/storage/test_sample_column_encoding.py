"""Rows to columns to the bytes of a binary COPY: read back, field by field, as the format is described."""

import itertools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import CATALOGUE, COLUMNS, INDEX
from app.timeseries.storage.box_grouping import find_in_order_boxes, group_block_by_box
from app.timeseries.storage.sample_column_encoding import (
    SampleBlock,
    compute_metric_bitmasks,
    encode_copy,
    has_all_metrics,
    iterate_copy_records,
    make_block,
)

PLACES = [INDEX[name] for name in ("pm2_5", "laeq", "pressure", "temperature")]
TIMES = st.integers(0, 4_000_000_000_000_000)


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, tuple[int, int | None, tuple[float | None, ...]]]:
    values: list[float | None] = [None] * len(COLUMNS)
    for place in draw(st.sets(st.sampled_from(PLACES), min_size=1)):
        values[place] = draw(st.floats(-1e6, 1e6, width=32))
    seq = draw(st.none() | st.integers(0, 2**53))
    return draw(st.integers(1, 5)), (draw(TIMES), seq, tuple(values))


def make(found: list[tuple[int, Any]], guess: tuple[int, ...] = ()) -> SampleBlock:
    return make_block([key for key, _ in found], [row for _, row in found], guess)


def read(data: bytes, used: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Read binary COPY as PostgreSQL's manual describes it."""
    assert data[:11] == b"PGCOPY\n\xff\r\n\x00"
    at = 19
    kinds = [">i", ">q", ">q", *(">f" if CATALOGUE[index].storage == "real" else ">d" for index in used)]
    while (count := struct.unpack_from(">h", data, at)[0]) != -1:
        assert count == len(kinds)
        at += 2
        fields: list[Any] = []
        for kind in kinds:
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            if length == -1:
                fields.append(None)
                continue
            assert length == struct.calcsize(kind)
            fields.append(struct.unpack_from(kind, data, at)[0])
            at += length
        yield (fields[0], fields[1] + 946_684_800_000_000, *fields[2:])
    assert at + 2 == len(data)


def wanted(found: list[tuple[int, Any]], used: tuple[int, ...]) -> list[tuple[Any, ...]]:
    return [(key, row[0], row[1], *(row[2][index] for index in used)) for key, row in found]


@given(st.lists(rows(), min_size=1, max_size=30))
def test_what_is_encoded_is_what_came(found: list[tuple[int, Any]]) -> None:
    block = make(found)
    data = encode_copy(block, np.arange(len(block)))
    assert data is not None
    assert sorted(read(data, block.used), key=repr) == sorted(wanted(found, block.used), key=repr)
    assert list(iterate_copy_records(block, np.arange(len(block)))) == wanted(found, block.used)


@given(st.lists(rows(), min_size=1, max_size=30), st.sets(st.sampled_from(PLACES)))
def test_a_guess_changes_nothing(found: list[tuple[int, Any]], guess: set[int]) -> None:
    block, guessed = make(found), make(found, tuple(sorted(guess)))
    assert block.used == guessed.used
    assert np.array_equal(block.matrix, guessed.matrix, equal_nan=True)


def test_a_guess_of_too_few_metrics_loses_none() -> None:
    row: list[float | None] = [None] * len(COLUMNS)
    for place in PLACES:
        row[place] = 1.0
    block = make([(1, (0, None, tuple(row)))], tuple(sorted(PLACES[:2])))
    assert block.used == tuple(sorted(PLACES))


def test_a_guess_of_as_many_other_metrics_loses_none() -> None:
    """Two kinds of boxes that measure as many things, in turns."""
    row: list[float | None] = [None] * len(COLUMNS)
    row[PLACES[0]] = row[PLACES[1]] = 1.0
    for guess in (PLACES[1:3], PLACES[2:4]):
        block = make([(1, (0, None, tuple(row)))], tuple(sorted(guess)))
        assert block.used == tuple(sorted(PLACES[:2]))
        assert block.matrix.tolist() == [[1.0, 1.0]]


def test_too_many_kinds_of_samples_are_left_to_others() -> None:
    found = []
    for number in range(1 << 10):
        row: list[float | None] = [1.0] + [None] * (len(COLUMNS) - 1)
        for bit in range(10):
            if number >> bit & 1:
                row[bit + 1] = 2.0
        found.append((1, (number, None, tuple(row))))
    block = make(found)
    assert encode_copy(block, np.arange(len(block))) is None
    assert list(iterate_copy_records(block, np.arange(len(block)))) == wanted(found, block.used)


@given(st.lists(rows(), min_size=1, max_size=30), st.dictionaries(st.integers(1, 5), TIMES))
def test_surely_new_is_what_rises_above_all_before(
    found: list[tuple[int, Any]], stored: dict[int, int]
) -> None:
    block = make(found)
    groups = group_block_by_box(block)
    keys = block.keys[groups.first].tolist()
    assert keys == sorted({key for key, _ in found})
    new = find_in_order_boxes(block, groups, np.array([stored.get(key, -1) for key in keys]))
    for place, key in enumerate(keys):
        indexes = groups.of(place)
        assert [index for index, (of, _) in enumerate(found) if of == key] == indexes
        times = [stored.get(key, -1), *(found[index][1][0] for index in indexes)]
        assert new[place] == all(earlier < later for earlier, later in itertools.pairwise(times))


@given(st.lists(rows(), min_size=1, max_size=30))
def test_kinds_tell_which_metrics_a_sample_has(found: list[tuple[int, Any]]) -> None:
    numbers = compute_metric_bitmasks(make(found)).tolist()
    sets = [{index for index, value in enumerate(row[2]) if value is not None} for _, row in found]
    for number, columns in zip(numbers, sets, strict=True):
        for other, earlier in zip(numbers, sets, strict=True):
            assert has_all_metrics(number, other) == (earlier <= columns)
            assert (number == other) == (earlier == columns)


def test_each_metric_has_its_own_bit_in_a_kind() -> None:
    """A number of 64 bits has room for 63 of them, and for NO_KIND."""
    every = compute_metric_bitmasks(make([(1, (0, None, (1.0,) * len(COLUMNS)))])).tolist()
    assert every == [2 ** len(COLUMNS) - 1]
    assert len(COLUMNS) < 64
