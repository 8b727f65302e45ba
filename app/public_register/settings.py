"""Defines the settings of the public register: map tiles and the default licence."""

import re
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from app.registry.spdx_licences import normalise_licence_id

# Characters that a Content-Security-Policy can name and the map can fill in: no quotes, spaces, semicolons.
_TILES: Final = re.compile(r"https?://[A-Za-z0-9.{}-]+(:\d{1,5})?/[^\s;,'\"<>]*")
_PLACEHOLDERS: Final = ("{z}", "{x}", "{y}")


class RegisterSettings(BaseModel):
    """The public register."""

    tiles_url: str = Field(
        "",
        description="Map tiles for the public register, such as "
        "`https://tiles.example.com/{z}/{x}/{y}.png`; their host sees what visitors view. "
        "Empty: outlines of land from Vigie's own files",
    )
    tiles_file: Path | None = Field(
        None,
        description="A PMTiles archive for the map, with raster or vector tiles. Vigie serves it itself, "
        "at `/public/tiles.pmtiles`: no other host sees visitors",
    )
    tiles_credit: str = Field("", max_length=300, description="Attribution of the tiles that the map shows")
    licence: str = Field(
        "",
        description="Default licence of open data (SPDX identifier), for sites without `open_data_licence`. "
        "Set it where you may decide for all organisations. Empty: none is named",
    )

    @field_validator("tiles_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and (
            not _TILES.fullmatch(value) or not all(placeholder in value for placeholder in _PLACEHOLDERS)
        ):
            raise ValueError("must be an address with {z}, {x} and {y}, or empty")
        return value

    @field_validator("licence")
    @classmethod
    def _listed(cls, value: str) -> str:
        return normalise_licence_id(value) if value else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.tiles_url and self.tiles_file:
            raise ValueError("set `tiles_url` or `tiles_file`, not both")
        return self

    @field_validator("tiles_credit")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "<" in value or "&" in value:
            raise ValueError("must be plain text")
        return value
