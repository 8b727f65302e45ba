"""Who gets a place to have a report made, for how long, and what becomes of those whose client hangs up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import psutil
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.platform.kernel.errors import TooManyRequestsError, UnavailableError
from app.reports.process_pool import ReportProcessPool
from app.reports.report_input import ReportFormat, pack_report_input
from tests.unit.reports.sheet import make_report_input

A, B, C = (uuid4() for _ in range(3))


@dataclass
class Client:
    """The client's end of a request: it has sent it, and hangs up when it is told to."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: bool = False

    async def receive(self) -> Message:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


@dataclass
class Held:
    """Reports under way that take until they are told to end."""

    report_processes: ReportProcessPool
    begun: list[str] = field(default_factory=list)
    ends: dict[str, asyncio.Event] = field(default_factory=dict)

    async def make(self, name: str, tree: UUID, form: ReportFormat = "pdf") -> None:
        self.ends[name] = asyncio.Event()
        async with self.report_processes.slot(tree, form, Client().receive):
            self.begun.append(name)
            await self.ends[name].wait()


@asynccontextmanager
async def held(
    report_processes: ReportProcessPool, **reports: UUID
) -> AsyncIterator[tuple[Held, dict[str, asyncio.Task[None]]]]:
    """Reports that were asked for one after the other."""
    under_way = Held(report_processes)
    tasks: dict[str, asyncio.Task[None]] = {}
    for name, tree in reports.items():
        tasks[name] = asyncio.create_task(under_way.make(name, tree))
        await settled()
    try:
        yield under_way, tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert report_processes.tenant_count == 0


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 (other processes tell nobody)
            await asyncio.sleep(0.01)


def children() -> list[psutil.Process]:
    """The processes that make reports for this one."""
    found = []
    for each in psutil.Process().children():
        try:
            if "app.reports.report_process" in each.cmdline():
                found.append(each)
        except psutil.NoSuchProcess:
            continue
    return found


async def test_organisations_take_turns_at_the_places() -> None:
    async with held(ReportProcessPool(), a=A, b=B, a2=A, a3=A, b2=B, c=C) as (under_way, _):
        assert under_way.begun == ["a", "b"]
        # Whoever has had none goes before those who asked for more of theirs long before.
        under_way.ends["b"].set()
        await settled()
        assert under_way.begun == ["a", "b", "c"]
        under_way.ends["a"].set()
        await settled()
        under_way.ends["c"].set()
        await settled()
        assert under_way.begun == ["a", "b", "c", "b2", "a2"]


async def test_pages_do_not_wait_for_layout() -> None:
    async with held(ReportProcessPool(), a=A, b=B) as (under_way, tasks):
        tasks["page"] = asyncio.create_task(under_way.make("page", C, "html"))
        await settled()
        assert under_way.begun == ["a", "b", "page"]


async def test_a_place_is_not_waited_for_longer_than_there_is_time_left() -> None:
    async with held(report_processes := ReportProcessPool(slot_timeout_s=0.02), a=A, b=B):
        with pytest.raises(TooManyRequestsError) as refused:
            async with report_processes.slot(C, "pdf", Client().receive):
                pytest.fail("there is no place")
        assert refused.value.code == "too_many_reports"
        assert report_processes.tenant_count == 2


async def test_what_takes_too_long_is_given_up_wherever_it_is() -> None:
    report_processes = ReportProcessPool(timeout_s=0.02)
    with pytest.raises(UnavailableError) as given_up:
        async with report_processes.slot(A, "pdf", Client().receive):
            await asyncio.Event().wait()
    assert given_up.value.code == "report_not_made"
    assert report_processes.tenant_count == 0


async def test_what_fails_in_a_place_fails_as_it_would_elsewhere() -> None:
    report_processes = ReportProcessPool()
    for error in (TimeoutError("of another"), KeyError("x")):
        with pytest.raises(type(error)) as raised:
            async with report_processes.slot(A, "pdf", Client().receive):
                raise error
        assert raised.value is error
    assert report_processes.tenant_count == 0


async def test_who_hangs_up_waits_no_more() -> None:
    client = Client()

    async def waiting() -> None:
        async with report_processes.slot(C, "pdf", client.receive):
            pytest.fail("nobody is there to have it")

    async with held(report_processes := ReportProcessPool(), a=A, b=B):
        asking = asyncio.create_task(waiting())
        await settled()
        assert report_processes.tenant_count == 3
        client.gone.set()
        with pytest.raises(ClientDisconnect):
            await asking
        assert report_processes.tenant_count == 2


async def test_the_child_of_a_client_that_hangs_up_is_ended() -> None:
    client, report_processes = Client(), ReportProcessPool()

    async def asking() -> bytes:
        async with report_processes.slot(A, "pdf", client.receive):
            return await report_processes.render(
                pack_report_input(make_report_input(length="month", boxes=8))
            )

    assert not children()
    making = asyncio.create_task(asking())
    await until(children)
    client.gone.set()
    with pytest.raises(ClientDisconnect):
        await making
    assert not children()
    assert report_processes.tenant_count == 0
