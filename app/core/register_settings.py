"""The settings of the public register."""

import re
from typing import Final

from pydantic import BaseModel, Field, field_validator

# What a Content-Security-Policy can name, and the map fills in: no quotes, spaces, semicolons.
_TILES: Final = re.compile(r"https?://[A-Za-z0-9.{}-]+(:\d{1,5})?/[^\s;,'\"<>]*")
_PLACES: Final = ("{z}", "{x}", "{y}")


class RegisterSettings(BaseModel):
    """The public register."""

    tiles_url: str = Field(
        "",
        description="Map pictures for the public register's map, such as "
        "`https://tiles.example.com/{z}/{x}/{y}.png`; their host learns who looks at what. "
        "Empty: outlines of land from Vigie's own files",
    )
    tiles_credit: str = Field(
        "", max_length=300, description="What the map says of where its pictures come from"
    )

    @field_validator("tiles_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and (not _TILES.fullmatch(value) or not all(place in value for place in _PLACES)):
            raise ValueError("must be an address with {z}, {x} and {y}, or empty")
        return value

    @field_validator("tiles_credit")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "<" in value or "&" in value:
            raise ValueError("must be plain text")
        return value
