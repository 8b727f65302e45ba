"""Defines the JSON shapes of the measurement stream."""

from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.measurement_stream.items import ItemKind

type StreamFormat = Literal["json", "cloudevents", "senml", "csv"]

_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "4711-0",
    "kind": "sample",
    "organisation_id": "01a21017-c4e9-7abf-a8ae-97180a390a41",
    "site_id": "01a21017-c4e9-7abf-a8ae-97180a390a42",
    "box": "box-0001",
    "time": "2026-11-24T10:10:02.000000Z",
    "values": {"pm2_5": 12.4, "laeq": 58.3},
    "seq": 1042,
}


class StreamItem(BaseModel):
    """One item of the measurement stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(description="The item's id, the same on every read: `POSITION-INDEX`")
    kind: ItemKind = Field(
        description="`sample`, `event` (recognised by a box), `correction` (of a box's values), or `hour`"
    )
    organisation_id: UUID = Field(description="The organisation")
    site_id: UUID = Field(description="The box's site")
    box: str = Field(description="The box's id")
    time: str = Field(description="Measurement time; of an hour its begin, of a correction its `valid_from`")
    values: dict[str, float] = Field(description="The values by metric; of an hour the means")
    seq: int | None = Field(None, description="As the box sent it")
    late: list[str] = Field(
        [], description="Metrics of which a newer value was stored before", examples=[["pm2_5"]]
    )
    detail: dict[str, Any] | None = Field(
        None,
        description="Of an event its `type` and candidates; of a correction its fields and `change` "
        "(`created`, `changed`, `deleted`); of an hour its aggregates, coverage and `version`",
    )


class ChangesPage(BaseModel):
    """A page of items."""

    data: list[StreamItem] = Field(description="The items, in commit order")
    next: str = Field(
        description="Send this as `after` in the next call", examples=["1pQ3aFsibWVhc3VyZW1lbnRzIl0"]
    )
    more: bool = Field(description="Whether there may be more items now")
