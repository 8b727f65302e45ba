"""What the list of an export's parts looks like."""

from datetime import datetime

from pydantic import BaseModel, Field


class ExportPart(BaseModel):
    """A part of an export: a file of its own, to be had under `href`."""

    number: int = Field(description="From 1 on", examples=[1])
    from_: datetime = Field(serialization_alias="from", description="Of the whole export, included")
    to: datetime = Field(description="Of the whole export, excluded")
    first_box: str = Field(description="Of the first row", examples=["pont-neuf-1"])
    last_box: str = Field(description="Of the last row", examples=["pont-neuf-2"])
    rows: int = Field(description="Counted now: samples that come late are read too", examples=[1_000_000])
    href: str = Field(
        description="The path, with all that was asked for",
        examples=["/v1/readings/export?format=parquet&from=2026-01-01T00:00:00Z&to=…&metric=pm2_5&part=…"],
    )
