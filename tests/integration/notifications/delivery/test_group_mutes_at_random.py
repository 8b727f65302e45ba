"""An end is told exactly when the beginning was, to each endpoint, whatever comes when."""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import asyncpg
import pytest

from app.platform.db.database import Database
from app.rules.definitions.severity import SEVERITIES, rank_severity
from app.settings import VigieSettings
from tests.integration.alerts.helpers import AlertStory, make_street
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.postman import GROUPING, URL, Postman

STEPS: Final = 250
MATCHERS: Final[Sequence[dict[str, list[str]]]] = (
    {"metrics": ["pm2_5"]},
    {"boxes": ["alerts-1"]},
    {"severities": ["info", "warning"]},
)


class Told(NamedTuple):
    """What an endpoint is sent of one alert."""

    kind: str
    sequence: int
    severity: str
    events_count: int


class Play:
    """Two boxes and two rules, and chance."""

    def __init__(self, postman: Postman, chance: random.Random) -> None:
        self.postman = postman
        self.street = postman.street
        self.chance = chance
        self.minute = 0
        self.firing: dict[tuple[Any, int], tuple[AlertStory, str]] = {}
        self.rules = [self.street.rule]

    async def step(self) -> None:
        self.minute += 1
        moves = (
            *(self.samples, self.samples, self.samples, self.samples, self.silence, self.street.end_silences),
            *(self.street.sweep, self.street.sweep, self.postman.gather, self.postman.send),
            self.time,
        )
        await self.chance.choice(moves)()

    async def samples(self) -> None:
        place = (self.chance.choice(self.rules), self.chance.choice(list(self.street.boxes)))
        severity = self.chance.choice(SEVERITIES)
        if place not in self.firing:
            story = self.street.story(place[1], place[0])
            self.firing[place] = (story, severity)
            await self.street.batch(story.fires(self.minute, severity))
            return
        story, before = self.firing[place]
        if severity == before:
            del self.firing[place]
            await self.street.batch(story.ends(self.minute))
            return
        self.firing[place] = (story, severity)
        change = story.rises if rank_severity(severity) > rank_severity(before) else story.falls
        await self.street.batch(change(self.minute, severity))

    async def silence(self) -> None:
        await self.street.silence(self.chance.choice(MATCHERS))

    async def time(self) -> None:
        await self.street.let_pass(11)
        await self.street.sweep()

    async def end(self) -> None:
        """Nothing is muted any more, and all that waits is sent."""
        await self.street.end_silences()
        await self.street.sweep()
        for _ in range(3):
            await self.postman.send()
        assert await self.postman.waiting() == 0

    async def told(self, endpoint: Any) -> dict[Any, list[Told]]:  # noqa: ANN401 (an id)
        """By alert, in the order of the sequence."""
        found: defaultdict[Any, list[Told]] = defaultdict(list)
        rows = await self.postman.connection.fetch(
            "SELECT body FROM deliveries WHERE endpoint_id = $1", endpoint
        )
        for row in rows:
            body = json.loads(row["body"])
            events = body["data"]["events"] if body["type"] == "alert.group" else [body]
            for event in events:
                data = event["data"]
                found[data["alert_id"]].append(
                    Told(event["type"], data["sequence"], data["severity"], event.get("events_count", 1))
                )
        return {alert: sorted(events, key=lambda event: event.sequence) for alert, events in found.items()}


@pytest.mark.parametrize("seed", range(5))
async def test_an_end_is_told_exactly_when_the_beginning_was(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings, seed: int
) -> None:
    street = await make_street(database, connection)
    postman = Postman(street, settings.webhooks)
    plain, _ = await add_endpoint(connection, street.organisation_id, URL)
    endpoints = [plain]
    for by in ("rule", "box", "severity"):
        endpoints.append(await postman.endpoint({**GROUPING, "by": [by]}))  # noqa: PERF401 (it awaits)
    # These hear of an alert only from `critical` on.
    grave, _ = await add_endpoint(connection, street.organisation_id, URL, min_severity="critical")
    graver = [grave, await postman.endpoint({**GROUPING, "by": ["rule"]}, min_severity="critical")]
    play = Play(postman, random.Random(seed))  # noqa: S311 (a choice of steps)
    play.rules.append(await street.add_rule("more", escalations=[{"after": "PT10M", "severity": "critical"}]))
    for _ in range(STEPS):
        await play.step()
    await play.end()
    alerts = {str(alert["id"]): alert for alert in await street.alerts()}
    assert len(alerts) > 10
    for endpoint in endpoints:
        told = await play.told(endpoint)
        for identifier, alert in alerts.items():
            check(told.get(identifier, []), alert, alone=endpoint == plain)
    for endpoint in graver:
        told = await play.told(endpoint)
        for identifier, alert in alerts.items():
            check_grave(told.get(identifier, []), alert)


def check(told: Sequence[Told], alert: dict[str, Any], *, alone: bool) -> None:
    """The promises, of one alert to one endpoint; `alone`: each event on its own."""
    sequences = [event.sequence for event in told]
    assert len(set(sequences)) == len(sequences), told
    kinds = [event.kind for event in told]
    assert kinds.count("alert.firing") <= 1, told
    if alert["state"] == "firing":
        # Nothing is lost: whoever wants to know knows how it is by now.
        assert told, alert
        assert told[-1].severity == alert["severity"], told
        assert "alert.resolved" not in kinds, told
    else:
        assert bool(told) == ("alert.resolved" in kinds), told
    if told:
        # The beginning is there, or in what is there: by severity, in that of a later change too.
        assert "alert.firing" in kinds or any(event.events_count > 1 for event in told), told
    if alone:
        assert kinds[:1] == ["alert.firing"] * bool(alert["notified"]), told


def check_grave(told: Sequence[Told], alert: dict[str, Any]) -> None:
    """The promises to an endpoint that hears of what is critical."""
    sequences = [event.sequence for event in told]
    assert len(set(sequences)) == len(sequences), told
    if told:
        assert alert["highest_severity"] == "critical", told
    if alert["state"] == "firing":
        if alert["severity"] == "critical":
            assert told, alert
            assert told[-1].severity == "critical", told
        return
    # Nothing stays open. What grew critical only while it was muted has its end told alone.
    assert not told or told[-1].kind == "alert.resolved", told
