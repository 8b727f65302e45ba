"""Defines the JSON schemas of sign-in through the OpenID Connect provider."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from app.people.schemas import Token
from app.platform.http.contract.fields import Identifier, RequestBody

_TOKEN: Final = "vgi_" + "…"


class OidcOut(BaseModel):
    """The OpenID Connect provider with which people can sign in."""

    name: str
    start: str = Field(description="URL that starts a sign-in in a browser")


class OidcStart(RequestBody):
    """The invitation or the organisation that the person confirms before the sign-in."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"invitation": _TOKEN}]})

    invitation: Token | None = Field(None, description="Token of the invitation to accept")
    organisation_id: Identifier | None = Field(
        None,
        description="The organisation of the invitation to accept, or of the account to link to the provider",
    )


class OidcStarted(BaseModel):
    """A started sign-in."""

    url: str = Field(description="URL of the provider, to which the browser goes")
