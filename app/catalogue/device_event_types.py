"""The types of events that boxes and gateways may report, as data: what each is, and what it may carry.

Owns the names, in English and French, and the form of each. What is not listed has no purpose, and is not
taken. Which purpose a type belongs to is `app.catalogue.purposes`'. Must not import a database nor read a
clock.

A new type gets its entry here, and its place among the purposes (a test asks for it).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

EventForm = Literal["recognised", "plain", "count", "state"]
"""What an event of a type may carry besides its time and `seq`.

`recognised`: candidates, level, spectrum and clock error, of what was heard or smelt; `plain`: nothing more;
`count`: how many, and no more; `state`: whether it begins or ends, and no more.
"""


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event.

    Attributes:
        name: The `type` of messages.
        title: What people call it, in English.
        title_fr: The same in French.
        form: What it may carry.
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
"""Every type, in the order in which they are shown."""

EVENT_TYPE_OF: Final[Mapping[str, EventType]] = MappingProxyType({each.name: each for each in EVENT_TYPES})
"""The types by name, read-only."""
