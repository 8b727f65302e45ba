import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from app.platform.http.fairness import fair_semaphore
from app.platform.http.fairness.fair_semaphore import ExportLimits, release_at_end
from app.platform.kernel.errors import TooManyRequestsError


def test_an_organisation_has_one_export() -> None:
    turns, organisation = ExportLimits(), uuid4()
    with (
        turns.reserve_export(organisation),
        turns.reserve_export(uuid4()),
        turns.reserve_export(organisation, "readings"),
    ):
        with pytest.raises(TooManyRequestsError) as refused, turns.reserve_export(organisation):
            pass
        assert refused.value.code == "too_many_exports"
    with turns.reserve_export(organisation):
        pass


async def test_a_place_is_free_at_the_end_of_the_body_and_is_released_once() -> None:
    limits, organisation = ExportLimits(), uuid4()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        # Not before the last chunk is sent.
        with pytest.raises(TooManyRequestsError), limits.reserve_export(organisation):
            pass

    with ExitStack() as later:
        with limits.reserve_export(organisation) as release:
            assert [chunk async for chunk in release_at_end(chunks(), release)] == [b"one"]
            later.enter_context(limits.reserve_export(organisation))
        # The end of the first block leaves the reservation of the second one.
        with pytest.raises(TooManyRequestsError), limits.reserve_export(organisation):
            pass


async def test_pieces_of_an_integrator_come_one_after_the_other_and_after_a_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_semaphore, "_REST_FACTOR", 1e9)
    monkeypatch.setattr(fair_semaphore, "_LONGEST_REST_S", 0.05)
    turns, tree = ExportLimits(), uuid4()
    clock = asyncio.get_running_loop().time

    async def read() -> tuple[float, float]:
        async with turns.read_slice(tree):
            began = clock()
            await asyncio.sleep(0)
        return began, clock()

    async with asyncio.timeout(60):
        first, second = sorted(await asyncio.gather(read(), read()))
        assert second[0] - first[1] > 0.04
        # Others wait for none of that.
        async with turns.read_slice(uuid4()), turns.read_slice(uuid4()):
            pass


async def test_of_all_together_three_pieces_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_semaphore, "_REST_FACTOR", 0.0)
    turns, read, most = ExportLimits(), 0, 0

    async def piece() -> None:
        nonlocal read, most
        async with turns.read_slice(uuid4()):
            read += 1
            most = max(most, read)
            await asyncio.sleep(0)
            read -= 1

    await asyncio.gather(*(piece() for _ in range(10)))
    assert (read, most) == (0, 3)
