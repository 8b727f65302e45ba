"""What follows from where a place is: whether it is indoors, whose law holds, when it is heated. Pure.

Owns the words for kinds of places, and which time zones lie in which country.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final

from app.indicators.index_definitions import IndexDefinition, PlaceSetting
from app.indicators.noise_levels import DEFAULT_COUNTRY
from app.indicators.thermal_comfort import Season

KINDS_BY_SETTING: Final[Mapping[PlaceSetting, frozenset[str]]] = {
    "indoor": frozenset(
        {
            *("office", "school", "classroom", "nursery", "university", "home", "house", "flat", "dwelling"),
            *(
                "hospital",
                "hotel",
                "library",
                "museum",
                "shop",
                "restaurant",
                "gym",
                "pool",
                "theatre",
                "room",
            ),
        }
    ),
    "outdoor": frozenset(
        {
            *(
                "street",
                "road",
                "motorway",
                "crossroads",
                "square",
                "park",
                "garden",
                "playground",
                "harbour",
            ),
            *("quarry", "landfill", "construction", "background", "outdoor"),
        }
    ),
}
"""What a place is, by what its client calls it."""

_COUNTRIES: Final = {
    **dict.fromkeys(
        [
            *("Europe/Paris", "America/Cayenne", "America/Guadeloupe", "America/Martinique"),
            *("Indian/Reunion", "Indian/Mayotte"),
        ],
        "FR",
    ),
    **dict.fromkeys(["Europe/Berlin", "Europe/Busingen"], "DE"),
}
_TROPIC: Final = 23.44
_APRIL, _OCTOBER = 4, 10


def country_of_timezone(timezone: str) -> str:
    """The country whose parts of the day are meant; `EU` where there are none of its own."""
    return _COUNTRIES.get(timezone, DEFAULT_COUNTRY)


def season_of(day: date, latitude: float) -> Season:
    """`heating` from October to April (in the south from April to October); near the equator never."""
    if abs(latitude) < _TROPIC:
        return "cooling"
    north = not _APRIL < day.month < _OCTOBER
    south = _APRIL <= day.month <= _OCTOBER
    return "heating" if (north if latitude > 0 else south) else "cooling"


def is_computed_by_default(figure: IndexDefinition, kinds: tuple[str | None, str], country: str) -> bool:
    """Whether a figure is computed unasked.

    Args:
        figure: which.
        kinds: of the box, if it has one, and of the site: the first one that is known says what the place
            is. Where none is, figures of both sorts are computed.
        country: of the place.
    """
    if not figure.unasked or figure.only not in {None, country}:
        return False
    known = next((where for kind in kinds for where, of in KINDS_BY_SETTING.items() if kind in of), None)
    return known is None or figure.where in {known, "anywhere"}
