"""The shapes of quarantine on the wire."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.platform.http.contract.etags import ResourceModel

type Door = Literal["mqtt", "http"]


class QuarantineOut(ResourceModel):
    """Something that was refused, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019abcde-0123-7000-8000-0123456789ab",
                    "received_at": "2026-11-24T10:00:00.5Z",
                    "box": "box-0001",
                    "door": "mqtt",
                    "code": "unknown_metric",
                    "detail": "'warp' is not a metric of the catalogue",
                    "topic": "vigie/v1/box-0001/telemetry",
                    "payload": '{"time": "2026-11-24T10:00:00Z", "values": {"warp": 1}}',
                    "payload_encoding": "utf-8",
                    "payload_bytes": 55,
                    "payload_cut": False,
                    "attempts": 0,
                    "attempted_at": None,
                    "replayed_at": None,
                    "outcome": None,
                }
            ]
        }
    )

    id: UUID
    received_at: datetime
    box: str | None
    door: Door
    code: str = Field(description="The stable reason code of the last refusal", examples=["unknown_metric"])
    detail: str
    topic: str | None
    payload: str = Field(description="What came: its beginning in lists, up to 64 KiB of it here")
    payload_encoding: Literal["utf-8", "base64"] = Field(description="`base64` where it is not text")
    payload_bytes: int = Field(description="How long it was as it came")
    payload_cut: bool = Field(description="Whether less of it is kept than came: it cannot be replayed then")
    attempts: int = Field(description="How often it was replayed")
    attempted_at: datetime | None = Field(description="When it was replayed last")
    replayed_at: datetime | None = Field(description="When all of it was taken; null while it is refused")
    outcome: dict[str, int] | None = Field(description="What became of it at its last replay, as counts")


class QuarantineCount(BaseModel):
    """How much was refused, of one group."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "unknown_box", "door": "mqtt", "count": 9, "replayed": 4}]}
    )

    code: str = Field("", description="The reason; where that is what is grouped by, like `door`")
    door: Door | None = None
    box: str | None = Field(None, description="The box; null for what no box could be told of")
    day: date | None = Field(None, description="The day of the arrival, in UTC")
    count: int
    replayed: int = Field(description="Of these: taken since, by a replay")


class QuarantineCounts(BaseModel):
    """A page of counts. Rows have what they are grouped by, and no other of those fields."""

    data: list[QuarantineCount]
    next: str | None = Field(
        None, description="Give this as `cursor` for the next page; null on the last one"
    )
