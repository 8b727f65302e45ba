"""Derives the setting (indoor or outdoor), country and season of a site, and which indices it gets. Pure."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from app.environmental_indices.index_definitions import IndexDefinition, PlaceSetting
from app.environmental_indices.indoor_comfort import Season
from app.environmental_indices.noise_levels import DEFAULT_COUNTRY

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
"""Kinds of sites and boxes, as clients name them, by setting."""

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
    """Return the country that defines the parts of the day; `EU` if it has no definition of its own."""
    return _COUNTRIES.get(timezone, DEFAULT_COUNTRY)


def season_of(day: date, latitude: float) -> Season:
    """Return `heating` from October to April (southern hemisphere: April to October), else `cooling`.

    It is never `heating` in the tropics.
    """
    if abs(latitude) < _TROPIC:
        return "cooling"
    north = not _APRIL < day.month < _OCTOBER
    south = _APRIL <= day.month <= _OCTOBER
    return "heating" if (north if latitude > 0 else south) else "cooling"


def is_computed_by_default(figure: IndexDefinition, kinds: tuple[str | None, str], country: str) -> bool:
    """Return whether an index is computed by default.

    Args:
        figure: the index.
        kinds: the kind of the box, if it has one, and of the site. The first known one decides on the
            setting; if both are unknown, indices of both settings are computed.
        country: the country of the site.
    """
    if not figure.is_default or figure.only not in {None, country}:
        return False
    known = next((where for kind in kinds for where, of in KINDS_BY_SETTING.items() if kind in of), None)
    return known is None or figure.where in {known, "anywhere"}
