"""Random scenarios for rules: samples, events, calls of the API and ticks, about a change of the clocks."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.platform.kernel.instants import from_datetime
from tests.integration.ingest.pipeline.test_rule_context import ABOVE, Sent

S: Final = 1_000_000
BOXES: Final = ("box-0", "box-1", "box-2")
SITES: Final = ("site-0", "site-1")
POISON: Final = 66.0
"""The battery level of samples that the database is to refuse."""

# A zone, when its clocks are changed, and the hour of the day that is there twice or not at all.
CHANGES: Final = (
    ("Europe/Paris", datetime(2025, 10, 26, 1, tzinfo=UTC), 2),
    ("America/Toronto", datetime(2025, 11, 2, 6, tzinfo=UTC), 1),
    ("Europe/Paris", datetime(2025, 3, 30, 1, tzinfo=UTC), 2),
    ("America/Toronto", datetime(2025, 3, 9, 7, tzinfo=UTC), 2),
)

type Condition = Mapping[str, Any]

OF_SITE: Final = ABOVE | {"threshold": {"attribute": "lim", "default": 25}, "clear": 15}
BETWEEN: Final = {"metric": "laeq", "operator": "inside", "low": 20, "high": 25, "margin": 1}
BEYOND: Final = {"metric": "laeq", "operator": "outside", "low": 18, "high": 34, "margin": 3}
WINDOW: Final = {"metric": "pm2_5", "operator": ">", "threshold": 27, "clear": 24, "window": "PT20S"}
MEAN: Final = WINDOW | {"function": "mean"}
SHOT: Final = {"event": "noise_peak"}

PLAIN: Final[Sequence[Condition]] = (
    OF_SITE,
    OF_SITE | {"repeat": 2},
    ABOVE | {"for": "PT3S"},
    ABOVE | {"keep_firing_for": "PT4S"},
    BETWEEN,
    BEYOND,
)
"""What a sample and its predecessor decide."""
WALKED: Final[Sequence[Condition]] = (
    *(WINDOW | {"function": function} for function in ("mean", "min", "max")),
    *(WINDOW | {"function": function, "threshold": 10, "clear": 8} for function in ("spread", "count")),
    WINDOW | {"function": "sum", "threshold": 300, "clear": 250},
    WINDOW | {"function": "rate", "threshold": 500, "clear": -100},
    WINDOW | {"function": "percentile", "percentile": 50, "window": "PT5S"},
    WINDOW | {"function": "percentile", "percentile": 95, "window": "PT30S"},
    MEAN | {"coverage": 20, "window": "PT60S"},
    WINDOW | {"metric": "laeq", "function": "energy_mean", "keep_firing_for": "PT5S"},
    {"all": [OF_SITE, {"not": {"metric": "laeq", "operator": "<", "threshold": 22}}]},
    {"any": [MEAN, {"no_data": "PT10S"}], "for": "PT2S"},
    {"all": [ABOVE, {"not": {"no_data": "PT8S", "metric": "laeq"}}], "for": "PT3S"},
    {"no_data": "PT9S", "metric": "laeq"},
    {"no_data": "PT11S"},
    {"no_data": "PT14S", "for": "PT4S"},
    SHOT | {"window": "PT4S"},
    SHOT | {"confidence": 0.5, "count": 2, "window": "PT15S"},
    {"all": [SHOT | {"window": "PT20S"}, OF_SITE]},
)
"""What has to see every sample of a box."""
ACROSS: Final[Sequence[Condition]] = (
    {"boxes": ABOVE, "at_least": 2},
    {"boxes": ABOVE, "share": 50, "for": "PT5S"},
    {"boxes": MEAN, "at_least": 1},
    {"boxes": {"no_data": "PT12S"}, "at_least": 1},
    {"boxes": {"no_data": "PT9S", "metric": "laeq"}, "share": 60},
    {"boxes": SHOT | {"window": "PT8S"}, "at_least": 1},
    {
        "all": [
            {"boxes": ABOVE, "at_least": 1},
            {"not": {"boxes": {"no_data": "PT15S"}, "at_least": 2}},
        ],
        "for": "PT3S",
    },
    {
        "boxes": {"any": [ABOVE, {"metric": "laeq", "operator": ">", "threshold": 30}]},
        "at_least": 2,
        "repeat": 3,
    },
)
"""What has to see every sample of a site."""


@dataclass(frozen=True)
class Call:
    """What somebody asks of the API. Names stand for the ids of sites, boxes and rules."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Tick:
    """Nothing has come up to this time (µs), and what is due is looked after."""

    at_us: int


type Happening = Sent | Call | Tick


class Scenario:
    """Makes happenings, each in the light of those before it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.zone, change, self.hour = dice.choice(CHANGES)
        self.start_us = from_datetime(change) - dice.choice((60, 100, 3660)) * S
        # A metric that is sent by itself, and later than the others of its time.
        self.lagging = dice.choice((None, "pm2_5", "laeq"))
        self.clock = {box: self.start_us + dice.randint(0, 5) * S for box in BOXES}
        self.happenings: list[Happening] = []
        self.rules: list[str] = []
        self._made = 0

    def fill(self, length: int) -> Sequence[Happening]:
        """Begin with two sites, the boxes on the first of them and some rules of it; end with a tick."""
        place = {"type": "Point", "coordinates": [0, 0]}
        for site in SITES:
            body: dict[str, Any] = {"name": site, "kind": "street", "timezone": self.zone, "location": place}
            self.happenings.append(Call("POST", "/v1/sites", body))
        for box in BOXES:
            body = {"id": box, "site_id": SITES[0], "interval_s": 5}
            self.happenings.append(Call("POST", "/v1/boxes", body))
        for _ in range(self.dice.randint(2, 6)):
            self.make_rule()
        ways = (self.send, self.tick, self.make_rule, self.change_rule, self.change_box, self.change_site)
        for way in self.dice.choices(ways, (86, 2, 2, 3, 5, 2), k=length):
            way()
            if way != self.send and self.dice.random() < 0.5:
                self.tick()
        self.happenings.append(Tick(max(self.clock.values()) + self.dice.choice((0, 30, 100)) * S))
        return self.happenings

    def send(self) -> None:
        """A sample: most go on in time, with gaps and missing metrics; and what may come with it."""
        dice = self.dice
        box = dice.choice(BOXES)
        self.clock[box] += dice.choice((1, 1, 1, 2, 3, 12)) * S
        now = self.clock[box]
        values = {"pm2_5": float(dice.randint(15, 45))}
        if dice.random() < 0.6:
            values["laeq"] = self.level()
        if dice.random() < 0.2:
            values.pop("pm2_5")
        held = {name: values.pop(name) for name in [self.lagging] if name in values}
        if "pm2_5" not in values:
            values["temperature"] = 20.5
        if dice.random() < 0.05:
            values["battery"] = POISON
        self.happenings.append(Sent(box, now, values))
        if dice.random() < 0.15:
            self.happenings.append(Sent(box, now, {}, round(dice.random(), 2)))
        if dice.random() < 0.1:
            earlier = [each for each in self.happenings if isinstance(each, Sent)]
            self.happenings.append(dice.choice(earlier))
        if dice.random() < 0.12:
            late = now - dice.randint(5, 60) * S + S // 2
            self.happenings.append(Sent(box, late, {"pm2_5": 99.0, "laeq": 99.0}))
        if held or dice.random() < 0.1:
            # Late for the box, but perhaps new of its kind.
            lag = now - dice.randint(4, 20) * S + S // 4
            self.happenings.append(Sent(box, lag, held or {"laeq": self.level()}))

    def level(self) -> float:
        return self.dice.randint(150, 400) / 10

    def tick(self) -> None:
        self.happenings.append(Tick(max(self.clock.values()) - self.dice.randint(0, 8) * S))

    def make_rule(self) -> None:
        rule = f"rule-{self._made}"
        self._made += 1
        self.rules.append(rule)
        body = {"site_id": SITES[0], "name": rule, **self.definition()}
        self.happenings.append(Call("POST", "/v1/rules", body))

    def change_rule(self) -> None:
        dice = self.dice
        if not self.rules:
            return
        rule = dice.choice(self.rules)
        path = f"/v1/rules/{rule}"
        luck = dice.random()
        if luck < 0.15:
            self.rules.remove(rule)
            self.happenings.append(Call("DELETE", path))
            return
        if luck < 0.5:
            change = self.definition()
        else:
            enabled = {"enabled": dice.random() < 0.5}
            change = dice.choice((enabled, enabled, {"name": f"{rule} anew"}, {"max_age": "PT30S"}))
        self.happenings.append(Call("PATCH", path, change))

    def change_box(self) -> None:
        """Another label, limit or pace, or another site."""
        dice = self.dice
        change: Mapping[str, Any] = dice.choice(
            (
                {"attributes": {"lim": dice.randint(18, 40)}},
                {"attributes": {}},
                {"tags": ["t1"]},
                {"tags": []},
                {"kind": "facade"},
                {"kind": "street"},
                {"interval_s": dice.choice((1, 5, 60))},
            )
        )
        if dice.random() < 0.4:
            change = {"site_id": dice.choice(SITES)}
        self.happenings.append(Call("PATCH", f"/v1/boxes/{dice.choice(BOXES)}", change))

    def change_site(self) -> None:
        zones = ("Europe/Paris", "America/Toronto", "UTC")
        limit = {"attributes": {"lim": self.dice.randint(18, 40)}}
        change = self.dice.choice((limit, {"timezone": self.dice.choice(zones)}))
        self.happenings.append(Call("PATCH", f"/v1/sites/{SITES[0]}", change))

    def definition(self) -> dict[str, Any]:
        """What a rule says: a condition or two levels, and perhaps for whom, when, and for how long."""
        dice = self.dice
        (conditions,) = dice.choices((PLAIN, WALKED, ACROSS), (1, 3, 1))
        condition = dice.choice(conditions)
        rule: dict[str, Any] = {
            "severity": dice.choice(("info", "warning", "critical")),
            "condition": condition,
        }
        if dice.random() < 0.15:
            worse = dice.choice(ACROSS if conditions is ACROSS else WALKED)
            rule = {
                "levels": [
                    {"severity": "info", "condition": condition},
                    {"severity": "critical", "condition": worse},
                ]
            }
        if conditions is not ACROSS and dice.random() < 0.25:
            rule["scope"] = dice.choice(({"tags": ["t1"]}, {"kinds": ["facade"]}))
        if dice.random() < 0.3:
            rule["active"] = [self.hours() for _ in range(dice.choice((1, 2)))]
        if dice.random() < 0.3:
            rule["max_age"] = dice.choice(("PT20S", "PT5S"))
        return rule

    def hours(self) -> dict[str, str]:
        """Active hours whose ends lie about the change of the clocks."""
        dice, hour = self.dice, self.hour
        begin = f"{dice.choice((hour - 1, hour, hour, hour + 1)):02}:{dice.choice((0, 0, 1, 30, 58, 59)):02}"
        end = f"{dice.choice((hour, hour, hour + 1)):02}:{dice.choice((0, 1, 2, 58, 59)):02}"
        return {"from": begin, "to": end}
