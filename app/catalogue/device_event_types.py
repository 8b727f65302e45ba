"""Lists the types of events that boxes and gateways may report, and the data that each may carry.

Events of other types are refused. `app.catalogue.purposes` assigns each type to a purpose; a test checks that
none is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

EventForm = Literal["recognised", "plain", "count", "state"]
"""The data that an event of a type may carry besides its time and `seq`.

- `recognised`: candidates, level, spectrum and clock error
- `plain`: nothing more
- `count`: a count only
- `state`: begin or end only
"""


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event.

    Attributes:
        name: The `type` in messages.
        title: The display name in English.
        title_fr: The same in French.
        form: The data that it may carry.
    """

    name: str
    title: str
    title_fr: str
    form: EventForm


EVENT_TYPES: Final[tuple[EventType, ...]] = (
    EventType("gunshot", "Gunshot", "Coup de feu", "recognised"),
    EventType("explosion", "Explosion", "Explosion", "recognised"),
    EventType("glass_break", "Breaking glass", "Bris de verre", "recognised"),
    EventType("impulse", "Other impulsive sound", "Autre bruit impulsif", "recognised"),
    EventType("noise_peak", "Peak of noise", "Pic de bruit", "recognised"),
    EventType("odour", "Class of odour", "Classe d'odeur", "recognised"),
    EventType("alarm", "Alarm of the box itself", "Alarme du boîtier", "recognised"),
    EventType("fault", "Fault of the box", "Défaut du boîtier", "recognised"),
    EventType("tamper", "Tampering with the box", "Atteinte au boîtier", "plain"),
    EventType("crowd", "People in a place, counted", "Personnes présentes, comptées", "count"),
    EventType("smoke", "Smoke", "Fumée", "state"),
    EventType("intrusion", "Intrusion into a closed area", "Intrusion dans une zone fermée", "state"),
    EventType("stopped_vehicle", "Stopped vehicle", "Véhicule arrêté", "state"),
)
"""All types, in display order."""

EVENT_TYPE_OF: Final[Mapping[str, EventType]] = MappingProxyType({each.name: each for each in EVENT_TYPES})
"""The types by name, read-only."""
