"""Defines the JSON of the map of all boxes: columns instead of one object for each box."""

from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, Field

MAPPED_BOXES: Final = 50_000
"""The most boxes of a map: 12 MB of JSON."""

BoxMapState = Literal[
    "active", "refused", "silent", "never_heard", "alert_info", "alert_warning", "alert_critical"
]
"""The states of a box on a map, from the best to the worst."""

STATES: Final[tuple[BoxMapState, ...]] = get_args(BoxMapState)


class MappedSite(BaseModel):
    """A site on a map of boxes."""

    id: UUID
    name: str = Field(examples=["Rue de Metz"])
    organisation_id: UUID
    longitude: float = Field(description="Longitude of the site, WGS 84", examples=[1.4442])
    latitude: float = Field(description="Latitude of the site, WGS 84", examples=[43.6047])
    state: int = Field(
        description="Worst alert of a rule on the site as a whole, an index into `states`; 0: none fires",
        examples=[0],
    )


class BoxMapOut(BaseModel):
    """All boxes with their places and states. Entry `n` of each column belongs to the same box."""

    as_of: datetime = Field(description="When this was read")
    states: list[BoxMapState] = Field(description="Names of the numbers in `state`", examples=[list(STATES)])
    sites: list[MappedSite] = Field(description="All sites in the tenant scope")
    total: int = Field(
        description=f"Number of all boxes; the columns have the first {MAPPED_BOXES:,}", examples=[1]
    )
    ids: list[str] = Field(description="Id of the box", examples=[["box-0001"]])
    labels: list[str] = Field(
        description="Name of the box, or its id where it has no name", examples=[["North crossing"]]
    )
    site: list[int] = Field(description="Site of the box, an index into `sites`", examples=[[0]])
    longitude: list[float] = Field(
        description="Own location of the box, else that of its site", examples=[[1.4442]]
    )
    latitude: list[float] = Field(
        description="Own location of the box, else that of its site", examples=[[43.6047]]
    )
    state: list[int] = Field(
        description="Worst state of the box, an index into `states`. Alerts count while they fire, without "
        "those of dry runs",
        examples=[[5]],
    )
