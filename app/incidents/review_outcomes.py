"""What a review may find, of the catalogue of acoustic sources. Pure."""

from typing import Final

from app.catalogue.acoustic_sources import CATALOGUE

_FIREARMS: Final = CATALOGUE.firearms
_LOOK_ALIKES: Final = CATALOGUE.look_alikes

CONFIRMING_OUTCOMES: Final = frozenset(
    {
        *("gunshot", "explosion"),
        *(source.class_ for source in _FIREARMS),
        *(source.id for source in _FIREARMS),
    }
)
"""It was one: a class or a model of firearms, `gunshot` where that is not known, `explosion`."""

DISMISSING_OUTCOMES: Final = frozenset(
    {"not_gunshot", "undetermined", *(source.id for source in _LOOK_ALIKES)}
)
"""It was none: what it was instead, `not_gunshot` where that is not known, `undetermined`."""

SYSTEM_OUTCOMES: Final = ("superseded", "erased")
"""Nobody's finding: it was a part of another incident, or nothing is left of it."""
