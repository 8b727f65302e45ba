"""Finds boxes by their places: within an area, or near a point."""

from math import cos, radians
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select

from app.platform.db.database import ReadSession
from app.sensorthings.relations import BOXES

_DEGREE_M: Final = 111_320.0


async def _read_places(session: ReadSession) -> tuple[list[int], Any, Any]:
    """Return keys, longitudes and latitudes of all boxes, in the order of the keys."""
    statement = select(BOXES.c.key, BOXES.c.longitude, BOXES.c.latitude).order_by(BOXES.c.key)
    rows = (await session.execute(statement)).all()
    return (
        [row[0] for row in rows],
        np.array([row[1] for row in rows], np.float64),
        np.array([row[2] for row in rows], np.float64),
    )


async def find_boxes_within(session: ReadSession, area: BaseGeometry) -> list[int]:
    """Return the keys of the boxes in an area, also on its border."""
    keys, longitudes, latitudes = await _read_places(session)
    inside = shapely.intersects_xy(area, longitudes, latitudes)
    return [key for key, fits in zip(keys, np.atleast_1d(inside).tolist(), strict=True) if fits]


async def find_boxes_near(session: ReadSession, point: BaseGeometry, farthest_m: float) -> list[int]:
    """Return the keys of the boxes at most a distance (metres) from a point, the nearest first.

    Of boxes at the same distance, the one with the lowest key is first. Distances are those of a plane at the
    point's latitude, which fits a city.
    """
    keys, longitudes, latitudes = await _read_places(session)
    # Without height and measure, which a point may have.
    longitude, latitude = shapely.get_coordinates(point)[0].tolist()
    scale = _DEGREE_M * cos(radians(latitude))
    # The shorter way around, also across the 180th meridian.
    eastwards = (longitudes - longitude + 180) % 360 - 180
    distances = np.hypot(eastwards * scale, (latitudes - latitude) * _DEGREE_M)
    return [keys[place] for place in np.argsort(distances, kind="stable") if distances[place] <= farthest_m]
