"""Orders of lists on a real database: pages are the whole list, whatever is equal or missing."""

import base64
import json
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    Uuid,
    delete,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.platform.db.database import Database
from app.platform.http.contract import sorting
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import InvalidError

ROWS = Table(
    "sorted_rows",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("word", Text, nullable=False),
    Column("label", Text),
    Column("at", TIMESTAMP(timezone=True)),
    Column("level", Double),
)
TABLE = text(
    "CREATE TABLE IF NOT EXISTS sorted_rows "
    "(id uuid PRIMARY KEY, word text NOT NULL, label text, at timestamptz, level float8)"
)
ORDERS = SortOrders(
    "rows",
    (uuid_sort_key(ROWS.c.id),),
    {
        "id": (),
        "word": (sorting.text_sort_key(ROWS.c.word),),
        "label": (name_sort_key(ROWS.c.label, nullable=True),),
        "at": (instant_sort_key(ROWS.c.at, nullable=True),),
        "level": (number_sort_key(ROWS.c.level.expression, attrgetter("level"), nullable=True),),
    },
    "-at",
)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
# Few values, so that many are equal; and what cursors could lose: microseconds, digits, letters of any kind.
WORDS = st.sampled_from(["a", "B", "b", "é", "\U0001f600", "it's", 'a"b', "a\\b", ""])
LABELS = st.none() | st.sampled_from(["a", "b", "ba", "c"])
TIMES = st.none() | st.integers(0, 3).map(lambda us: NOON + timedelta(microseconds=us))
LEVELS = st.none() | st.sampled_from([-1.5, 0.0, 0.1, 0.30000000000000004, 1e18])
ROW = st.tuples(st.uuids(), WORDS, LABELS, TIMES, LEVELS)
LISTS = st.lists(ROW, max_size=12, unique_by=lambda row: row[0])
# What fails is shown as it was found: to find a smaller one takes many more rounds of the database.
AT_RANDOM = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


async def fill(database: Database, rows: Sequence[tuple[Any, ...]]) -> None:
    async with database.write() as session:
        await session.execute(TABLE)
        await session.execute(delete(ROWS))
        if rows:
            await session.execute(insert(ROWS), [dict(zip(ROWS.c.keys(), row, strict=True)) for row in rows])


async def page(database: Database, asked: PageRequest) -> tuple[Sequence[Row[Any]], str | None]:
    async with database.read() as session:
        rows = (await session.execute(ORDERS.page(select(ROWS), asked))).all()
    return ORDERS.cut(rows, asked)


async def pages(database: Database, sort: str, limit: int) -> list[uuid.UUID]:
    seen: list[uuid.UUID] = []
    cursor: str | None = None
    while True:
        rows, cursor = await page(database, PageRequest(sort, limit, cursor))
        assert len(rows) <= limit
        seen += [row.id for row in rows]
        if cursor is None:
            return seen


@dataclass(frozen=True)
class Place:
    """A row's place in a list: by columns, then by id; what has no value is last either way."""

    values: tuple[Any, ...]
    descending: bool

    def __lt__(self, other: "Place") -> bool:
        for mine, theirs in zip(self.values, other.values, strict=True):
            if mine != theirs:
                if mine is None or theirs is None:
                    return theirs is None
                return bool(mine > theirs if self.descending else mine < theirs)
        return False


COLUMNS = {each: (each,) for each in ("word", "label", "at", "level")} | {"id": ()}


def expected(rows: Sequence[tuple[Any, ...]], sort: str) -> list[uuid.UUID]:
    places = [list(ROWS.c.keys()).index(column) for column in (*COLUMNS[sort.removeprefix("-")], "id")]

    def place(row: tuple[Any, ...]) -> Place:
        return Place(tuple(row[each] for each in places), sort.startswith("-"))

    return [row[0] for row in sorted(rows, key=place)]


@AT_RANDOM
@given(rows=LISTS, limit=st.integers(1, 5))
async def test_pages_are_the_whole_list(database: Database, rows: list[tuple[Any, ...]], limit: int) -> None:
    await fill(database, rows)
    for sort in ORDERS.names:
        assert await pages(database, sort, limit) == expected(rows, sort), sort


@AT_RANDOM
@given(rows=LISTS, late=LISTS, limit=st.integers(1, 4), data=st.data())
async def test_what_comes_and_goes_meanwhile_shifts_nothing(
    database: Database,
    rows: list[tuple[Any, ...]],
    late: list[tuple[Any, ...]],
    limit: int,
    data: st.DataObject,
) -> None:
    await fill(database, rows)
    sort = data.draw(st.sampled_from(ORDERS.names))
    first, cursor = await page(database, PageRequest(sort, limit))
    leaving = data.draw(st.sets(st.sampled_from([row[0] for row in rows]))) if rows else set()
    staying = [row for row in rows if row[0] not in leaving]
    coming = [row for row in late if row[0] not in {known[0] for known in rows}]
    await fill(database, [*staying, *coming])
    seen = [row.id for row in first]
    while cursor is not None:
        found, cursor = await page(database, PageRequest(sort, limit, cursor))
        seen += [row.id for row in found]
    assert len(set(seen)) == len(seen)
    kept = [row for row in rows if row[0] in {row.id for row in first} or row[0] not in leaving]
    known = {row[0] for row in rows}
    assert [each for each in seen if each in known] == expected(kept, sort)


async def test_names_are_sorted_as_people_sort_them(database: Database) -> None:
    names = ["Écluse", "abbaye", "Zoo", "étang", "Eaux", "10", "Abbaye", "-"]
    await fill(database, [(uuid.uuid4(), "", each, None, None) for each in names])
    rows, _ = await page(database, PageRequest("label", 10))
    assert [row.label for row in rows] == ["-", "10", "abbaye", "Abbaye", "Eaux", "Écluse", "étang", "Zoo"]


@pytest.mark.parametrize("other", ["-label", "at", "-at", "level"])
async def test_a_cursor_is_of_one_order(database: Database, other: str) -> None:
    await fill(database, [(uuid.uuid4(), "", "a", NOON, 1.0) for _ in range(3)])
    _, cursor = await page(database, PageRequest("label", 1))
    with pytest.raises(InvalidError) as refused:
        await page(database, PageRequest(other, 1, cursor))
    assert refused.value.code == "invalid_cursor"
    assert "sort=label" in refused.value.detail


ID = str(uuid.uuid4())


def forged(kind: str, parts: list[Any]) -> str:
    """A cursor with a checksum that is right: anybody can make one."""
    body = json.dumps([kind, *parts]).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


@pytest.mark.parametrize(
    ("sort", "kind", "parts"),
    [
        ("word", "rows:word", ["a\0", ID]),
        ("word", "rows:word", ["\ud800", ID]),
        ("word", "rows:word", [None, ID]),
        ("word", "rows:word", [7, ID]),
        ("word", "rows:word", ["a"]),
        ("word", "rows:word", ["a", ID, ID]),
        ("word", "rows:word", ["a", "x"]),
        ("word", "sites:word", ["a", ID]),
        ("-at", "rows", ["2026-11-26T12:00:00", ID]),
        ("-at", "rows", ["0001-01-01T00:00:00+23:00", ID]),
        ("-at", "rows", [1764158400, ID]),
        ("level", "rows:level", [2**63, ID]),
        ("level", "rows:level", [float("nan"), ID]),
        ("level", "rows:level", ["1", ID]),
        ("id", "rows:id", [None]),
        ("id", "rows:\ud800", [ID]),
        ("level", "rows:level", [True, ID]),
    ],
)
async def test_a_forged_cursor_is_refused(database: Database, sort: str, kind: str, parts: list[Any]) -> None:
    await fill(database, [])
    with pytest.raises(InvalidError) as refused:
        await page(database, PageRequest(sort, 1, forged(kind, parts)))
    assert refused.value.code == "invalid_cursor"
    # What is shown of it can be sent.
    assert refused.value.detail.encode()


@pytest.mark.parametrize(
    ("column", "part"),
    [
        (Integer, 0.5),
        (Integer, True),
        (Integer, 2**31),
        (Integer, -(2**31) - 1),
        (BigInteger, 1.0),
        (BigInteger, 2**63),
    ],
)
def test_a_forged_number_that_no_such_column_holds_is_refused(column: type[Integer], part: object) -> None:
    whole = SortOrders(
        "whole", (number_sort_key(literal_column("1", column), attrgetter("one")),), {"one": ()}, "one"
    )
    with pytest.raises(InvalidError) as refused:
        whole.page(select(ROWS), PageRequest("one", 1, forged("whole", [part])))
    assert refused.value.code == "invalid_cursor"
