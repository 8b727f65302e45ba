"""The writer of samples where a batch contradicts itself."""

import random

from app.catalogue.metrics import COLUMNS
from app.platform.db.database import Database
from app.timeseries.storage.sample_writer import (
    SampleRow,
    find_stored_identities,
    find_week_ranges,
    write_samples,
)


def row(time_us: int, value: float, columns: int = len(COLUMNS)) -> SampleRow:
    values = tuple(value if column < columns else None for column in range(len(COLUMNS)))
    return SampleRow(1, time_us * 1_000_000, None, values)


async def test_the_first_of_an_identity_wins_after_batches_that_were_rolled_back(database: Database) -> None:
    """What a rollback leaves in the temporary table is room, which later rows may be put into."""
    connection = await database.connect()
    chance = random.Random(3)  # noqa: S311 (the same on every run)

    def width() -> int:
        return chance.randrange(1, len(COLUMNS))

    for attempt in range(20):
        for _ in range(3):
            rolled_back = connection.transaction()
            await rolled_back.start()
            number = chance.choice([1, 50, 500, 3000])
            await write_samples(connection, [row(10**7 + index, 0.5, width()) for index in range(number)])
            await connection.fetch("SELECT count(*) FROM incoming")
            await rolled_back.rollback()
        start = attempt * 10_000
        rows = [row(start + index % 500, 1.0 + index // 500, width()) for index in range(1000)]
        async with connection.transaction():
            outcome = await write_samples(connection, rows)
        assert (outcome.stored, outcome.conflicts) == (500, list(range(500, 1000)))
    assert await connection.fetchval(f"SELECT count(*) FROM samples WHERE {COLUMNS[0]} <> 1") == 0  # noqa: S608
    await connection.close()


WEEK = 7 * 86_400


async def test_what_is_late_is_compared_with_the_weeks_in_which_it_lies(database: Database) -> None:
    """There is a chunk for each week of history: all of them would be looked into, and locked."""
    connection = await database.connect()
    first = 2_000 * WEEK
    history = [row(first + week * WEEK, 1.0, 3) for week in range(60)]
    async with connection.transaction():
        assert (await write_samples(connection, history)).stored == 60
    # The first and the last of it, sent again, contradicted, and sent for the first time.
    batch = [
        *(history[0], history[-1]),
        *(row(first, 2.0, 3), row(first + 59 * WEEK, 2.0, 3)),
        *(row(first + 1, 3.0, 3), row(first + 59 * WEEK + 1, 3.0, 3), row(first + 1, 4.0, 3)),
    ]
    async with connection.transaction():
        outcome = await write_samples(connection, batch)
        chunks = await connection.fetchval(
            "SELECT count(DISTINCT relation) FROM pg_locks JOIN pg_class ON oid = relation"
            " WHERE pid = pg_backend_pid() AND relname LIKE '%hyper%chunk'"
        )
    assert (outcome.stored, sorted(outcome.duplicates), sorted(outcome.conflicts)) == (2, [0, 1], [2, 3, 6])
    assert chunks <= 4
    identities = [(1, each.time_us) for each in (*history[::20], row(first + 2, 1.0), row(first + 1, 1.0))]
    assert await find_stored_identities(connection, identities) == {0, 1, 2, 4}
    await connection.close()


def test_a_sample_of_long_ago_does_not_make_one_stretch_of_all_history() -> None:
    week = WEEK * 1_000_000
    assert find_week_ranges([]) == []
    assert find_week_ranges([5 * week + 1, 6 * week - 1]) == [(5 * week, 6 * week)]
    assert find_week_ranges([5 * week, 9 * week, 14 * week]) == [
        (14 * week, 15 * week),
        (5 * week, 10 * week),
    ]
    scattered = find_week_ranges([place * 10 * week for place in range(100)])
    assert len(scattered) == 8
    # The newest by themselves, the rest together.
    assert scattered[0] == (990 * week, 991 * week)
    assert scattered[-1] == (0, 921 * week)
