"""The writer of samples where a batch contradicts itself."""

import random

from app.core.database import Database
from app.observations.writer import SampleRow, write_samples
from app.sites.catalogue import COLUMNS


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
