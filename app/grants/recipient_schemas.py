"""Defines the JSON schemas that the recipient of a grant uses: offers, acceptances, and its grant."""

from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.grants.models import GrantState
from app.grants.schemas import GrantContent, GrantKeyCreated
from app.platform.http.contract.fields import Name, RequestBody

_SITE: Final = "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d"


class GrantOffer(BaseModel):
    """What the link of a grant offers."""

    organisation: str = Field(description="The organisation that gives the grant", examples=["City"])
    recipient: str = Field(description="Name of the third party", examples=["Air Lab"])
    state: GrantState
    content: GrantContent = Field(description="What applies after the acceptance")
    content_hash: str = Field(
        description="SHA-256 of `content`, hexadecimal. Send it with the acceptance: it names what was read"
    )
    sites: list[str] = Field(description="Names of the sites", examples=[["Rue de Metz"]])
    changes: list[str] = Field(
        description="Fields that differ from what was accepted before; empty at the first acceptance",
        examples=[["valid_until"]],
    )
    has_key: bool = Field(description="Whether the recipient already has a key that works")


class GrantAccept(RequestBody):
    """The acceptance of a grant by a person of the recipient."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Ada Lovelace", "content_hash": "9f86d081884c7d65…"}]}
    )

    name: Annotated[Name, Field(description="Who accepts it", examples=["Ada Lovelace"])]
    content_hash: Annotated[
        str, Field(max_length=64, description="`content_hash` of the offer: which content was read")
    ]
    new_key: Annotated[
        bool,
        Field(description="True: also create a key if one exists, and revoke all others"),
    ] = False


class GrantAccepted(BaseModel):
    """An accepted grant, with a key if a new one was created."""

    content: GrantContent
    key: GrantKeyCreated | None = Field(description="Null: the former key continues to work")


class RecipientGrantOut(BaseModel):
    """A grant as its recipient sees it, with the key of the grant."""

    id: UUID
    organisation: str = Field(description="The organisation that gave it", examples=["City"])
    recipient: str = Field(description="Name of the third party", examples=["Air Lab"])
    state: GrantState
    content: GrantContent
    readable: dict[str, list[str]] = Field(
        description="By site, the metrics whose purpose is declared and in force: only these can be read now",
        examples=[{_SITE: ["pm2_5", "no2"]}],
    )
    offered: dict[str, Any] | None = Field(
        description="Wider values that wait for acceptance by the link; null: none"
    )
