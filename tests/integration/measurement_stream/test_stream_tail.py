"""The newest items that all streams of a process share: organisations take turns."""

from contextlib import ExitStack
from uuid import UUID

import asyncpg
import pytest

from app.measurement_stream import stream_tail
from app.measurement_stream.items import StreamPosition
from app.measurement_stream.stream_tail import MeasurementHub, TailPage, read_tail_page
from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import Database, RawConnection
from app.platform.http.streaming.stream_slots import StreamSlot, StreamSlots
from app.platform.kernel.tenant_scope import TenantScope
from app.settings import VigieSettings
from app.timeseries.commit_log.stream_positions import PositionAssigner
from tests.conftest import STREET, Tenant
from tests.integration.measurement_stream.conftest import send

_PAGE = 10


async def test_a_backlog_delays_others_by_a_page(  # noqa: PLR0917 (fixtures)
    settings: VigieSettings,
    tenant: Tenant,
    other_tenant: Tenant,
    boxes: list[str],
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is woken when its page is there, before those of others are read."""
    site = (await other_tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    (await other_tenant.client.post("/v1/boxes", json={"id": "other", "site_id": site})).raise_for_status()
    organisations = [UUID(tenant.id), UUID(other_tenant.id)]
    # Whose page was read, and the streams that were awake before it.
    read: list[tuple[UUID, set[UUID]]] = []
    slots: dict[UUID, StreamSlot] = {}

    async def note_read(connection: RawConnection, scope: TenantScope, after: StreamPosition) -> TailPage:
        (organisation,) = scope.organisations or ()
        read.append((organisation, {owner for owner, slot in slots.items() if slot.woken.is_set()}))
        return await read_tail_page(connection, scope, after)

    monkeypatch.setattr(stream_tail, "PAGE", _PAGE)
    monkeypatch.setattr(stream_tail, "read_tail_page", note_read)
    database = Database(settings.database, application="tests", role="vigie_api", tenants=True)
    hub = await MeasurementHub.of(StreamSlots(ApiSettings()), database, keep_days=7)
    with ExitStack() as opened:
        # Without the task of the hub, which would look by itself.
        for organisation in organisations:
            slots[organisation] = opened.enter_context(
                hub.slots.open("measurements", organisation, organisation)
            )
        async with hub.pool.acquire() as connection:
            seen = await hub.read_newest_position(connection)
            for client, box in ((tenant, boxes[0]), (other_tenant, "other")):
                await send(client, box, *((float(second), {"pm2_5": 1}) for second in range(2 * _PAGE + 1)))
            await PositionAssigner(owner).assign()
            for look in range(1, 4):
                begin = len(read)
                news = await hub.read_updated_organisations(connection, seen)
                seen = max(news.values(), default=seen)
                first, second = read[begin:]
                assert {first[0], second[0]} == set(organisations)
                assert second[1] == {first[0]}
                for slot in slots.values():
                    assert slot.woken.is_set()
                    slot.woken.clear()
                for organisation in organisations:
                    tail = hub.find_tail(organisation)
                    assert tail is not None
                    page = tail.read_after(StreamPosition(0, 0))
                    assert page is None
                    held = sum(len(page.items) for page in tail._pages)
                    assert held == min(look * _PAGE, 2 * _PAGE + 1)
                # The next look is at once as long as there is more.
                assert hub._wakeup.is_set() == (look < 3)
                hub._wakeup.clear()
            await hub.read_updated_organisations(connection, seen)
            assert len(read) == 6
    await hub.close()
    await database.close()
