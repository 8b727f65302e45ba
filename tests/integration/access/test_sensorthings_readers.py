"""Open, tenant, granted and foreign readers against every entity set of SensorThings.

The tenant's own answers are the measure: another reader gets the same entities without those that it may not
see, by each address, link, expansion and format. What it may see is computed here from what was sent.
"""

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.sensorthings.entity_model import (
    ENTITY_SETS,
    DatastreamId,
    ObservationId,
    make_property_id,
)
from app.settings import VigieSettings
from app.standard_apis.settings import StandardApiSettings
from tests.conftest import STREET, Tenant, client_of
from tests.integration.grants.grants import give
from tests.purposes import approve

ROOT: Final = "/sensorthings/v1.1"
SECRETS: Final = ("1.445317", "43.604529", "zebra lamp", "zebra-0001")
"""Exact places and names of boxes."""
MINUTES: Final = 150
FIRST, LAST = 20, 125
"""The minutes that the grant includes: one whole hour."""
_LINK: Final = re.compile(r"/sensorthings/v1\.1/(\w+)\('(\d+)'\)$")
type Entity = tuple[str, str]


@dataclass
class Reader:
    """One who reads, and what it may see.

    Attributes:
        client: with its key, or without one.
        boxes: that it sees.
        measuring: those whose values it sees.
        metrics: that it sees.
        minutes: whose values it sees.
        secrets: texts that no answer to it may have.
    """

    client: httpx.AsyncClient
    boxes: frozenset[str]
    measuring: frozenset[str]
    metrics: frozenset[str]
    minutes: range = range(MINUTES)
    secrets: tuple[str, ...] = ()


@dataclass
class Readers:
    """All readers, and the tenant's data."""

    begins: datetime
    readers: dict[str, Reader]
    numbers: dict[str, str] = field(default_factory=dict)

    def may_see(self, reader: Reader, entity: Entity) -> bool:
        """Say from what was sent whether a reader may see an entity."""
        kind, identifier = entity
        if kind == "ObservedProperties":
            return True
        if kind not in {"Datastreams", "Observations"}:
            return self.box_of(identifier) in reader.boxes
        observation = ObservationId.parse(identifier) if kind == "Observations" else None
        stream = DatastreamId.parse(identifier if observation is None else observation.datastream)
        assert stream is not None
        box = self.box_of(str(int(stream.number, 16)))
        if box not in reader.measuring or stream.metric not in reader.metrics:
            return False
        if observation is None:
            return True
        minute = round((observation.time_us / 1e6 - self.begins.timestamp()) / 60)
        last = minute + 59 if stream.hourly else minute
        # All hours of the tenant are over; a reader without limits sees those that have values in part, too.
        return reader.minutes == range(MINUTES) or (minute in reader.minutes and last in reader.minutes)

    def is_sample(self, entity: Entity) -> bool:
        """Choose the entities whose addresses are tried: of Observations those at the borders."""
        kind, identifier = entity
        if kind == "ObservedProperties":
            return identifier == make_property_id("laeq")
        if kind not in {"Datastreams", "Observations"}:
            return True
        observation = ObservationId.parse(identifier) if kind == "Observations" else None
        stream = DatastreamId.parse(identifier if observation is None else observation.datastream)
        assert stream is not None
        is_first = self.box_of(str(int(stream.number, 16))) == "zebra-0001"
        if observation is None:
            return stream.metric == "pm2_5" if is_first else not stream.hourly
        minute = round((observation.time_us / 1e6 - self.begins.timestamp()) / 60)
        if is_first and stream.metric == "pm2_5":
            return minute in {FIRST - 1, FIRST, 60} if not stream.hourly else minute == 0
        return minute == 60 and not stream.hourly

    def is_part(self, reader: Reader, whole: Any, part: Any) -> bool:  # noqa: ANN401 (JSON)
        """Compare an answer with the tenant's: it has those of its entities that the reader may see."""
        seen = list(entities_in(part))
        if not all(self.may_see(reader, each) for each in seen):
            return False
        expected = set(entities_in(whole, lambda each: self.may_see(reader, each)))
        if "nextLink" in json.dumps(whole):
            # A page has room for others where some are left out.
            return set(seen) >= expected
        return set(seen) == expected

    def box_of(self, identifier: str) -> str:
        return self.numbers[identifier]


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """Open data without a key."""
    api = settings.api.model_copy(update={"anonymous_rate_burst": 10_000})
    update = {"sensorthings": StandardApiSettings(anonymous=True), "api": api}
    return settings.model_copy(update=update)


@pytest.fixture
async def readers(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, database_url: str
) -> AsyncIterator[Readers]:
    begins = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=4)
    sites = []
    for box in ("zebra-0001", "zebra-0002"):
        site = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
        sites.append(site)
        body = {"id": box, "site_id": site, "name": f"zebra lamp {box[-1]}", "interval_s": 60}
        body["location"] = {"type": "Point", "coordinates": [1.445317, 43.604529]}
        (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
        samples = [
            {
                "time": (begins + timedelta(minutes=minute)).isoformat(),
                "values": {"pm2_5": 10 + minute / 10, "laeq": 50 + minute % 7},
            }
            for minute in range(MINUTES)
        ]
        await tenant.client.post("/v1/telemetry", json={"box": box, "samples": samples})
    owner = await asyncpg.connect(database_url)
    await approve(owner, sites[0], "air_quality", open_data=True)
    await owner.close()
    times = {
        name: (begins + timedelta(minutes=at)).isoformat() for name, at in (("from", FIRST), ("until", LAST))
    }
    _, granted = await give(application, tenant, sites[0], **times)
    foreign = (await other_tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    _, foreign_grant = await give(application, other_tenant, foreign, **{"from": None, "until": None})
    both, first, air = (
        frozenset({"zebra-0001", "zebra-0002"}),
        frozenset({"zebra-0001"}),
        frozenset({"pm2_5"}),
    )
    nothing: frozenset[str] = frozenset()
    async with (
        client_of(application, None) as anonymous,
        client_of(application, granted) as recipient,
        client_of(application, foreign_grant) as foreign_recipient,
    ):
        made = Readers(
            begins,
            {
                "tenant": Reader(tenant.client, both, both, frozenset({"pm2_5", "laeq"})),
                # The public register shows all boxes; values are those of open data.
                "open": Reader(anonymous, both, first, air, secrets=SECRETS),
                "granted": Reader(recipient, first, first, air, range(FIRST, LAST), secrets=SECRETS[:2]),
                "foreign": Reader(other_tenant.client, nothing, nothing, nothing, secrets=SECRETS),
                "foreign grant": Reader(foreign_recipient, nothing, nothing, nothing, secrets=SECRETS),
            },
        )
        for thing in (await ask(tenant.client, "/Things"))["value"]:
            made.numbers[thing["@iot.id"]] = thing["properties"]["box"]
        yield made


async def ask(client: httpx.AsyncClient, path: str) -> Any:  # noqa: ANN401 (JSON)
    answer = await client.get(ROOT + path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def entities_in(
    value: Any,  # noqa: ANN401 (JSON)
    is_shown: Callable[[Entity], bool] = lambda _: True,
) -> Iterator[Entity]:
    """List the entities of an answer, with what they expand; neither of those that are not shown."""
    if isinstance(value, dict):
        if found := _LINK.search(value.get("@iot.selfLink", "")):
            entity = found[1], found[2]
            if not is_shown(entity):
                return
            yield entity
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from entities_in(each, is_shown)


async def addresses(readers: Readers) -> list[tuple[str, Entity | None]]:
    """List addresses of every shape, with the entity that each begins with."""
    found: list[tuple[str, Entity | None]] = []
    for name, entity in ENTITY_SETS.items():
        page = "$top=1000" if name != "Observations" else "$top=300"
        links = ",".join(entity.links)
        found += [(f"/{name}?{page}&$expand={links}", None), (f"/{name}/$ref?{page}", None)]
        whole = await ask(readers.readers["tenant"].client, f"/{name}?$top=1000")
        for root in filter(readers.is_sample, entities_in(whole)):
            path = f"/{name}('{root[1]}')"
            found.append((f"{path}?$expand={links}", root))
            for link in entity.links:
                found.append((f"{path}/{link}{'?$top=1000' if link in ENTITY_SETS else ''}", root))
    return found


async def test_each_reader_sees_its_part_of_each_entity_set(readers: Readers) -> None:
    faults: list[Any] = []
    paths = await addresses(readers)
    assert len(paths) > 70
    for path, root in paths:
        body = await ask(readers.readers["tenant"].client, path)
        for name, reader in readers.readers.items():
            if name == "tenant":
                continue
            answer = await reader.client.get(ROOT + path)
            faults += [(name, path, secret) for secret in reader.secrets if secret in answer.text]
            if root is not None and not readers.may_see(reader, root):
                if answer.status_code != 404:
                    faults.append((name, path, answer.status_code))
            elif answer.status_code != 200:
                faults.append((name, path, answer.status_code, answer.text[:200]))
            elif not readers.is_part(reader, body, answer.json()):
                faults.append((name, path, sorted(entities_in(answer.json()))[:5]))
    assert not faults, "\n".join(map(str, faults[:20]))


@pytest.mark.parametrize("name", ["tenant", "open", "granted", "foreign", "foreign grant"])
async def test_counts_and_formats_have_no_more_than_the_entities(readers: Readers, name: str) -> None:
    reader = readers.readers[name]
    for entity_set in ENTITY_SETS:
        listed: list[Any] = []
        path = f"/{entity_set}?$top=1000&$count=true"
        while path:
            body = await ask(reader.client, path)
            count = body.get("@iot.count")
            listed += body["value"]
            path = body.get("@iot.nextLink", "").partition(ROOT)[2]
        assert count == len(listed), entity_set
        assert all(readers.may_see(reader, each) for each in entities_in(listed)), entity_set
        assert (await ask(reader.client, f"/{entity_set}?$top=0&$count=true"))["@iot.count"] == count
        sheet = (await reader.client.get(f"{ROOT}/{entity_set}?$top=1000&$resultFormat=csv")).text
        assert len(list(csv.DictReader(io.StringIO(sheet)))) == min(count, 1000)
        assert not [secret for secret in reader.secrets if secret in sheet], entity_set
        if entity_set == "Observations":
            arrays = await ask(reader.client, f"/{entity_set}?$top=1000&$resultFormat=dataArray")
            assert sum(each["dataArray@iot.count"] for each in arrays["value"]) == min(count, 1000)
    streams = await ask(
        reader.client, "/Datastreams?$expand=Observations($orderby=phenomenonTime desc;$top=1)"
    )
    for stream in streams["value"]:
        assert all(readers.may_see(reader, each) for each in entities_in(stream["Observations"]))
