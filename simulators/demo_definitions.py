"""Defines the demo city as data: sites, boxes, recurring episodes, and rules.

Each rule of a synthetic site fires and resolves within minutes, because an episode exceeds its threshold for
longer than its `for`. The rules of Aberdeen fire on the measurements of 2019-03-10, which are replayed each
day: a dusty noon at one station, frost, and air so humid that dust sensors read too high.
"""

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from simulators.registration import BoxSpec, SiteSpec
from simulators.synthetic_values import RecurringEpisode, SyntheticBox

ORGANISATION: Final = "Demo City / Ville démo"
ENDPOINT_DESCRIPTION: Final = "The demo's own receiver"
RECIPIENT: Final = "Salle de veille de la ville démo"
OPERATOR_EMAIL: Final = "operator@demo.example"
OPERATOR_NAME: Final = "Demo operator"
INTERVAL_S: Final = 5
SEED: Final = 31
ZONE: Final = "Europe/Paris"
BOX_PREFIX: Final = "demo-aberdeen"
ACK_BOX: Final = "demo-street-1"
RECORDED_DAY: Final = "2019-03-10"
"""The recorded day of Aberdeen's stations."""
EVENT_SITE: Final = "street"
"""The site whose boxes report shots."""

DEMO_SITES: Final[dict[str, SiteSpec]] = {
    "street": SiteSpec("Rue d'Alsace-Lorraine, Toulouse", "street", ZONE, 1.4453, 43.6045),
    "office": SiteSpec("Bureaux Compans-Caffarelli, Toulouse", "office", ZONE, 1.4346, 43.6116),
    "airport": SiteSpec("Blagnac, bord de piste", "airport", ZONE, 1.3638, 43.6291),
    "aberdeen": SiteSpec(
        f"Aberdeen, replay of {RECORDED_DAY} (Sensor.Community)", "street", "Europe/London", -2.0943, 57.1497
    ),
}
FORMER_NAMES: Final[dict[str, str]] = {"aberdeen": "Aberdeen, Sensor.Community, 2019-03-10"}
"""Names of sites in an earlier version, so that its data directories remain usable."""


def _dust(amount: float, every_s: float, lasts_s: float) -> tuple[RecurringEpisode, ...]:
    """Raise all particle fractions: the coarser ones contain the finer ones."""
    shares = {"pm1": 0.7, "pm2_5": 1.0, "pm4": 1.2, "pm10": 1.4}
    return tuple(
        RecurringEpisode(metric, amount * share, every_s, lasts_s) for metric, share in shares.items()
    )


def _loud(amount: float, every_s: float, lasts_s: float, after_s: float) -> tuple[RecurringEpisode, ...]:
    """Raise the sound levels as a passing source does, both mean and peaks."""
    metrics = ("laeq", "la10", "lamax", "lcpeak")
    return tuple(RecurringEpisode(metric, amount, every_s, lasts_s, after_s) for metric in metrics)


@dataclass(frozen=True, slots=True)
class DemoBox:
    """A synthetic box: its site's key in `DEMO_SITES`, its name, location and episodes."""

    id: str
    site: str
    name: str
    longitude: float
    latitude: float
    episodes: tuple[RecurringEpisode, ...] = ()

    def spec(self) -> BoxSpec:
        """Build the box to register."""
        return BoxSpec(self.id, self.name, self.longitude, self.latitude, INTERVAL_S, ack=self.id == ACK_BOX)

    def box(self) -> SyntheticBox:
        """Build the box to simulate."""
        return SyntheticBox(
            self.id, self.site, SEED, self.longitude, self.latitude, ZoneInfo(ZONE), self.episodes
        )


DEMO_BOXES: Final[tuple[DemoBox, ...]] = (
    # A delivery lorry stands with its engine running.
    DemoBox(ACK_BOX, "street", "Place Esquirol", 1.4447, 43.6002, _dust(48, 240, 110)),
    DemoBox("demo-street-2", "street", "Rue de la Pomme", 1.4463, 43.6035),
    # A siren.
    DemoBox("demo-street-3", "street", "Place du Capitole", 1.4440, 43.6044, _loud(24, 300, 45, 90)),
    DemoBox("demo-street-4", "street", "Square Wilson", 1.4480, 43.6050),
    # A meeting with the windows shut.
    DemoBox(
        "demo-office-1", "office", "Salle Garonne", 1.4345, 43.6117, (RecurringEpisode("co2", 900, 360, 200),)
    ),
    DemoBox("demo-office-2", "office", "Plateau nord", 1.4347, 43.6118),
    DemoBox("demo-office-3", "office", "Cafétéria", 1.4348, 43.6115),
    # A take-off right overhead.
    DemoBox("demo-airport-1", "airport", "Seuil 14R", 1.3571, 43.6371, _loud(32, 180, 45, 30)),
    # Kerosene on the wind.
    DemoBox(
        "demo-airport-2",
        "airport",
        "Clôture est",
        1.3762,
        43.6267,
        (RecurringEpisode("odour", 22, 420, 180, 60),),
    ),
    DemoBox("demo-airport-3", "airport", "Rue de Blagnac", 1.3801, 43.6312),
)


@dataclass(frozen=True, slots=True)
class DemoRule:
    """A rule: its site's key in `DEMO_SITES`, and the fields of `POST /v1/rules`."""

    site: str
    name: str
    severity: str
    metric: str
    operator: str
    threshold: float
    clear: float
    wait: str

    def body(self, site_id: str) -> dict[str, Any]:
        """Build the body of `POST /v1/rules`."""
        return {
            "site_id": site_id,
            "name": self.name,
            "severity": self.severity,
            "condition": {
                "metric": self.metric,
                "operator": self.operator,
                "threshold": self.threshold,
                "clear": self.clear,
                "for": self.wait,
            },
        }


DEMO_RULES: Final[tuple[DemoRule, ...]] = (
    DemoRule("street", "Fine particles", "warning", "pm2_5", ">", 40, 30, "PT30S"),
    DemoRule("street", "Noise in the street", "critical", "laeq", ">", 78, 74, "PT10S"),
    DemoRule("office", "Stale air", "warning", "co2", ">", 1200, 1050, "PT30S"),
    DemoRule("airport", "Overflight", "info", "laeq", ">", 76, 73, "PT10S"),
    DemoRule("airport", "Kerosene smell", "warning", "odour", ">", 18, 14, "PT1M"),
    DemoRule("aberdeen", "Fine particles, ten minutes", "critical", "pm2_5", ">", 25, 20, "PT10M"),
    DemoRule("aberdeen", "PM10 above 45 µg/m³, ten minutes", "warning", "pm10", ">", 45, 40, "PT10M"),
    DemoRule("aberdeen", "Frost", "info", "temperature", "<", 0, 1, "PT30M"),
)

_FIVE_MINUTES: Final = {"metric": "pm2_5", "function": "mean", "window": "PT5M", "operator": ">"}
# Bodies of `POST /v1/rules` by site: levels over a window, an event, a night-time window, silence, shares.
CONDITION_RULES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "street",
        {
            "name": "Fine particles, mean of five minutes, in steps",
            "levels": [
                {"severity": severity, "condition": {**_FIVE_MINUTES, "threshold": above, "clear": clear}}
                for severity, above, clear in (("info", 25, 20), ("warning", 50, 45), ("critical", 90, 80))
            ],
        },
    ),
    (
        "street",
        {
            "name": "Gunshot",
            "severity": "critical",
            "condition": {"event": "gunshot", "confidence": 0.6, "window": "PT2M"},
        },
    ),
    (
        "street",
        {
            "name": "Noise at night, mean of an hour",
            "severity": "warning",
            "condition": {
                "metric": "laeq",
                "function": "energy_mean",
                "window": "PT1H",
                "operator": ">",
                "threshold": 55,
                "clear": 53,
            },
            # The whole hour of a mean lies in the night (from 22:00): the first one ends at 23:00.
            "active": [{"from": "23:00", "to": "07:00"}],
        },
    ),
    ("office", {"name": "A box is silent", "severity": "warning", "condition": {"no_data": "PT2M"}}),
    # One alert for the site: alerts of many stations at once would hide the others.
    (
        "aberdeen",
        {
            "name": "Air too wet for dust sensors, at a quarter of the stations",
            "severity": "info",
            "condition": {
                "boxes": {"metric": "humidity", "operator": ">", "threshold": 95, "clear": 90},
                "share": 25,
                "for": "PT30M",
            },
        },
    ),
    (
        "aberdeen",
        {
            "name": "A tenth of the stations are silent",
            "severity": "info",
            "condition": {"boxes": {"no_data": "PT15M"}, "share": 10, "for": "PT5M"},
        },
    ),
)
