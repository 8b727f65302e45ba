"""What the reader of the stream gives: what was stored, once, in the order of commits, to who may see it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.measurement_stream.item_reader import START, read_items
from app.measurement_stream.items import Item, ItemPage, StreamFilter, StreamPosition
from app.platform.kernel.tenant_scope import TenantScope
from tests.conftest import STREET, Tenant
from tests.integration.measurement_stream.conftest import StreamReader, at, outline, send
from tests.purposes import approve


async def test_stored_samples_come_once_in_commit_order(
    stream: StreamReader, tenant: Tenant, boxes: list[str]
) -> None:
    first, second, _ = boxes
    await send(tenant, first, (0, {"pm2_5": 12.4, "laeq": 58.3}), (1, {"pm2_5": 12.5}), seq=7)
    await send(tenant, second, (0, {"pm2_5": 1}))
    # A duplicate, a conflict, a late one, and a new one.
    told = await send(
        tenant,
        first,
        (0, {"pm2_5": 12.4, "laeq": 58.3}),
        (1, {"pm2_5": 99}),
        (-60, {"pm2_5": 3}),
        (2, {"pm2_5": 4}),
    )
    assert (told["stored"], told["duplicate"], told["conflict"]) == (2, 1, 1)
    items = await stream.read()
    assert outline(items) == [
        (first, 0, {"pm2_5": 12.4, "laeq": 58.3}),
        (first, 1, {"pm2_5": 12.5}),
        (second, 0, {"pm2_5": 1}),
        (first, -60, {"pm2_5": 3}),
        (first, 2, {"pm2_5": 4}),
    ]
    assert [item.seq for item in items] == [7, 7, None, None, None]
    assert [item.late for item in items] == [(), (), (), ("pm2_5",), ()]
    assert {item.kind for item in items} == {"sample"}
    assert len({item.id for item in items}) == 5
    assert [item.id for item in items] == [item.id for item in await stream.read(limit=1)]


async def test_a_reader_resumes_at_every_position(
    stream: StreamReader, tenant: Tenant, boxes: list[str]
) -> None:
    for number, box in enumerate(boxes * 2):
        await send(tenant, box, *((number * 10 + second, {"pm2_5": second}) for second in range(5)))
    items = await stream.read()
    assert len(items) == 30
    for number, item in enumerate(items):
        after = StreamPosition(item.position, item.index)
        rest = await stream.read(after=after, limit=7)
        assert [each.id for each in rest] == [each.id for each in items[number + 1 :]]


async def test_filters_leave_ids_as_they_are(
    stream: StreamReader, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    for number in range(4):
        for box in boxes:
            await send(tenant, box, (number, {"pm2_5": number}), (number + 0.5, {"laeq": 50}))
    everything = {item.id: item for item in await stream.read()}
    chosen = await stream.read(StreamFilter(boxes=frozenset({"box-0002"})), limit=3)
    assert len(chosen) == 8
    assert all(everything[item.id] == item for item in chosen)
    loud = await stream.read(StreamFilter(metrics=("laeq",)))
    assert [item.values for item in loud] == [{"laeq": 50}] * 12
    assert {item.id for item in loud} <= everything.keys()
    assert len(await stream.read(StreamFilter(sites=frozenset({UUID(site_id)})))) == 24
    assert await stream.read(StreamFilter(sites=frozenset({UUID(int=1)}))) == []
    assert await stream.read(StreamFilter(kinds=frozenset({"event"}))) == []


@pytest.mark.parametrize("is_hidden", [False, True], ids=["metrics", "purposes"])
async def test_few_items_are_found_among_many_in_one_page(
    stream: StreamReader, tenant: Tenant, site_id: str, boxes: list[str], *, is_hidden: bool
) -> None:
    """A page ends exactly after its last item, whatever it has examined."""
    for number, box in enumerate(boxes):
        samples = [{"laeq": 50} if second % 50 else {"pm2_5": second} for second in range(150)]
        await send(tenant, box, *enumerate(samples, 1000 * number))
    everything = await stream.read()
    chosen = [item for item in everything if item.values.keys() == {"pm2_5"}]
    assert len(chosen) == 9
    filter_ = StreamFilter() if is_hidden else StreamFilter(metrics=("pm2_5",))
    if is_hidden:
        (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/noise")).raise_for_status()
    for limit in (1, 2, 4, 9, 10):
        after, found = START, list[Item]()
        pages: list[ItemPage] = []
        while not pages or pages[-1].full:
            pages.append(await read_items(stream.connection, stream.scope, after, filter_, limit))
            found += pages[-1].items
            after = pages[-1].next
        assert found == chosen
        assert len(pages) <= len(chosen) // limit + 1
        for page in pages[:-1]:
            last = page.items[-1]
            assert page.next == StreamPosition(last.position, last.index)
            assert page.next_us == last.positioned_us


async def test_tenants_and_sites_see_their_own(
    stream: StreamReader, tenant: Tenant, other_tenant: Tenant, boxes: list[str]
) -> None:
    other_site = (await other_tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    body = {"id": "foreign", "site_id": other_site}
    (await other_tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    second = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    (await tenant.client.post("/v1/boxes", json={"id": "apart", "site_id": second})).raise_for_status()
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await send(other_tenant, "foreign", (0, {"pm2_5": 2}))
    await send(tenant, "apart", (0, {"pm2_5": 3}))
    assert [item.box for item in await stream.read()] == [boxes[0], "apart"]
    theirs = stream.within(TenantScope.of([UUID(other_tenant.id)]))
    assert [item.box for item in await theirs.read()] == ["foreign"]
    limited = stream.within(TenantScope.of([UUID(tenant.id)], [UUID(second)]))
    assert [item.box for item in await limited.read()] == ["apart"]
    both = stream.within(TenantScope.of([UUID(tenant.id), UUID(other_tenant.id)]))
    assert [item.box for item in await both.read()] == [boxes[0], "foreign", "apart"]
    everything = stream.within(TenantScope(None))
    assert [item.box for item in await everything.read()] == [boxes[0], "foreign", "apart"]
    assert await stream.within(TenantScope(())).read() == []


@pytest.mark.parametrize("stream", ["vigie_deliver"], indirect=True)
async def test_the_delivery_process_sees_no_measurements_without_a_scope(
    stream: StreamReader, tenant: Tenant, boxes: list[str]
) -> None:
    """Also where its login is the owner, which sees everything by default."""
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    assert len(await stream.read()) == 1
    assert await stream.connection.fetchval("SELECT count(*) FROM tenant_samples") == 0
    assert await stream.connection.fetchval("SELECT count(*) FROM registry_boxes") == 0


async def test_an_ended_purpose_shows_nothing(
    stream: StreamReader, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    await send(tenant, boxes[0], (0, {"pm2_5": 1, "laeq": 50}), (1, {"laeq": 51}))
    assert len(await stream.read()) == 2
    (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/noise")).raise_for_status()
    assert outline(await stream.read()) == [(boxes[0], 0, {"pm2_5": 1})]


async def test_what_is_gone_is_absent(stream: StreamReader, tenant: Tenant, boxes: list[str]) -> None:
    for box in boxes:
        await send(tenant, box, (0, {"pm2_5": 1}), (1, {"pm2_5": 2}))
    items = await stream.read()
    await stream.owner.execute("DELETE FROM samples WHERE box_key = (SELECT min(box_key) FROM samples)")
    (await tenant.client.delete(f"/v1/boxes/{boxes[1]}")).raise_for_status()
    assert await stream.read() == [item for item in items if item.box == boxes[2]]


async def test_events_and_corrections_are_items(
    stream: StreamReader, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    await approve(stream.owner, site_id)
    event = {
        "box": boxes[0],
        "events": [
            {
                "seq": 7,
                "time": at(0),
                "type": "gunshot",
                "candidates": [{"class": "pistol", "confidence": 0.8}],
                "level_db": 118.2,
            }
        ],
    }
    answer = await tenant.client.post("/v1/events", json=event)
    assert answer.status_code in {200, 201}, answer.text
    await tenant.client.post("/v1/events", json=event)
    correction = {"metric": "pm2_5", "kind": "linear", "gain": 0.5, "offset": 2, "valid_from": at(0)}
    path = f"/v1/boxes/{boxes[0]}/corrections"
    made = (await tenant.client.post(path, json=correction)).raise_for_status().json()["id"]
    (await tenant.client.patch(f"{path}/{made}", json={"valid_until": at(60)})).raise_for_status()
    (await tenant.client.delete(f"{path}/{made}")).raise_for_status()
    gunshot, *changes = await stream.read()
    assert (gunshot.kind, gunshot.box, gunshot.seq, gunshot.values) == ("event", boxes[0], 7, {})
    assert gunshot.detail is not None
    assert gunshot.detail["type"] == "gunshot"
    assert gunshot.detail["candidates"] == [{"class": "pistol", "confidence": 0.8}]
    assert [change.kind for change in changes] == ["correction"] * 3
    details = [change.detail or {} for change in changes]
    assert [detail["change"] for detail in details] == ["created", "changed", "deleted"]
    assert {detail["correction_id"] for detail in details} == {made}
    assert (details[0]["gain"], details[0]["valid_until"]) == (0.5, None)
    assert datetime.fromisoformat(details[2]["valid_until"]) == datetime.fromisoformat(at(60))
    noisy = StreamFilter(kinds=frozenset({"correction"}), metrics=("laeq",))
    assert await stream.read(noisy) == []
    (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/acoustic_safety")).raise_for_status()
    assert [item.kind for item in await stream.read()] == ["correction"] * 3


@pytest.mark.parametrize("stream", ["vigie_api"], indirect=True)
async def test_history_of_years_is_found(stream: StreamReader, tenant: Tenant, boxes: list[str]) -> None:
    year = timedelta(days=365).total_seconds()
    await send(tenant, boxes[0], *((-year * number, {"pm2_5": number}) for number in range(20)))
    items = await stream.read()
    assert sorted(item.values["pm2_5"] for item in items) == list(range(20))
    assert min(item.time_us for item in items) < datetime(2010, 1, 1, tzinfo=UTC).timestamp() * 1e6
