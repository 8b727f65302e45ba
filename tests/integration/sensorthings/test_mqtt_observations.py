"""Observations by MQTT: a subscriber of Mosquitto finds each of them by its id over HTTP."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final

import aiomqtt
import asyncpg
import pytest

from app.platform.db.database import Database
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.measurement_stream.subscribing import serving, subscribe
from tests.integration.sensorthings.conftest import EXACT, VALUES, Street, collect, get, send
from tests.integration.timeseries.rollups.street import Maintainer, maintaining

SELECT: Final = "id,phenomenonTime,resultTime,result"
PATH: Final = re.compile(r"v1\.1/(Datastreams\('\d+'\)/Observations)")


@pytest.fixture
async def maintainer(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Maintainer]:
    async with maintaining(database, monkeypatch) as made:
        yield made


async def open_account(tenant: Tenant, mosquitto: PrivateMosquitto) -> aiomqtt.Client:
    answer = await tenant.client.post("/v1/channels", json={"kind": "mqtt"})
    login = answer.raise_for_status().json()["credentials"]
    return aiomqtt.Client(
        mosquitto.host, mosquitto.port, username=login["username"], password=login["password"]
    )


type Observations = dict[tuple[str, str], dict[str, Any]]


async def receive(client: aiomqtt.Client, root: str, found: Observations, count: int) -> None:
    """Receive until there are so many, by path and id; one that comes again is the same."""
    async with asyncio.timeout(60):
        async for message in client.messages:
            path = PATH.fullmatch(str(message.topic).removeprefix(f"{root}/"))
            assert path is not None
            observation = json.loads(bytes(message.payload))
            assert found.setdefault((path[1], observation["@iot.id"]), observation) == observation
            if len(found) == count:
                break


async def test_each_message_is_an_observation_of_the_service(  # noqa: PLR0917 (fixtures)
    settings: VigieSettings,
    street: Street,
    other_tenant: Tenant,
    mosquitto: PrivateMosquitto,
    maintainer: Maintainer,
    database_url: str,
) -> None:
    root = f"vigie/v1/measurements/@{street.tenant.id}"
    own, foreign = [await open_account(each, mosquitto) for each in (street.tenant, other_tenant)]
    now = datetime.now(UTC).replace(microsecond=250_000)
    async with own, foreign, serving(settings):
        for client in (own, foreign):
            await client.subscribe(f"{root}/v1.1/+/Observations", qos=1)
        made = await subscribe(
            street.tenant,
            {"kind": "mqtt"},
            format="sensorthings",
            # Also what the street stored before.
            start=street.begins.isoformat(),
            filter={"kinds": ["sample", "hour"], "metrics": ["pm2_5", "laeq"]},
        )
        assert made["format"] == "sensorthings"
        late = street.begins - timedelta(minutes=7)
        for time, values in ((now, {"pm2_5": 12.4, "laeq": 58.3, "no2": 1}), (late, {"pm2_5": 0.1})):
            await send(street.keyed, "box-0001", [{"time": time.isoformat(), "values": values}])
        found: Observations = {}
        samples = len(EXACT) * VALUES * 2 + 3
        await receive(own, root, found, samples)
        owner = await asyncpg.connect(database_url)
        waiting = "SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < now() - interval '61 minutes')"
        while await owner.fetchval(waiting):
            await maintainer.turn()
        await owner.close()
        # Three hours of two boxes and two metrics, and the hour of the late value.
        await receive(own, root, found, samples + 3 * len(EXACT) * 2 + 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(aiter(foreign.messages))
    got: dict[str, list[dict[str, Any]]] = {}
    for (path, _), observation in found.items():
        got.setdefault(path, []).append(observation)
    chosen = itertools.product(EXACT, ("pm2_5", "laeq"), (False, True))
    streams = [street.stream(box, metric, hourly=hourly) for box, metric, hourly in chosen]
    assert got.keys() == {f"Datastreams('{stream}')/Observations" for stream in streams}
    for path, observations in got.items():
        # Nothing is missed or comes under two ids, and a late value comes when it was stored.
        listed = await collect(street.keyed, f"/{path}", select=SELECT)
        assert sorted(observations, key=itemgetter("phenomenonTime")) == listed
        last = observations[-1]
        assert await get(street.keyed, f"/Observations('{last['@iot.id']}')", select=SELECT) == last


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"sink": {"kind": "webhook", "url": "http://127.0.0.1:9/"}}, "format_not_offered"),
        ({"sink": {"kind": "mqtt"}, "filter": {"kinds": ["sample", "event"]}}, "format_without_kind"),
    ],
)
async def test_what_the_format_cannot_express_is_refused(
    tenant: Tenant, body: dict[str, Any], code: str
) -> None:
    (await tenant.client.post("/v1/channels", json={"kind": "mqtt"})).raise_for_status()
    answer = await tenant.client.post(
        "/v1/measurement-subscriptions", json={"name": "Test", "format": "sensorthings", **body}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
