"""What the routes of this room stand on: made once a process, kept in `app.state.people`."""

from dataclasses import dataclass
from typing import Annotated, Final, Self

from fastapi import Depends, Request

from app.people.oidc_provider import OidcProvider
from app.people.password_hashing import PasswordHashingPool
from app.people.sessions import SessionAuthenticator
from app.platform.config.settings import VigieSettings
from app.platform.config.sign_in_settings import SessionSettings
from app.platform.db.database import Database
from app.platform.identity.principals import Principal, bearer, current_principal
from app.platform.kernel.api_keys import hash_key
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError
from app.platform.runtime.stored_settings import InstallationSettings

WELCOME: Final = "/welcome"


@dataclass(frozen=True, slots=True)
class PeopleContext:
    """The process's part in people's sign-in.

    Attributes:
        database: Where they are kept.
        settings: How sign-in is guarded.
        hasher: Hashes passwords.
        sessions: Tells whom a token speaks for.
        oidc: The provider that people may sign in with, where there is one.
        installation: Where links begin, and whether mails can be sent.
    """

    database: Database
    settings: SessionSettings
    hasher: PasswordHashingPool
    sessions: SessionAuthenticator
    oidc: OidcProvider | None
    installation: InstallationSettings

    @classmethod
    def of(cls, settings: VigieSettings, database: Database, installation: InstallationSettings) -> Self:
        """The one that settings speak of. Nothing is connected."""
        return cls(
            database,
            settings.sessions,
            PasswordHashingPool(settings.sessions),
            SessionAuthenticator(database, settings.sessions),
            OidcProvider.of(settings.oidc, settings.api.base_url),
            installation,
        )

    @property
    def base_url(self) -> str:
        """Where links begin."""
        return self.installation.base_url

    def link(self, token: str) -> str:
        """Where a person uses a token by hand. Behind the `#` it goes to no server, and into no log."""
        return f"{self.base_url}{WELCOME}#{token}"


async def _people(request: Request) -> PeopleContext:
    people: PeopleContext = request.app.state.people
    return people


async def _person(principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
    if principal.kind != "user":
        raise ForbiddenError(
            "This is for people who signed in: an API key has no such thing.", code="people_only"
        )
    return principal


async def _token_hash(request: Request, _: Annotated[Principal, Depends(_person)]) -> bytes:
    credentials = await bearer(request)
    if credentials is None:
        raise UnauthorisedError("Send `Authorization: Bearer vgs_…`.")
    return hash_key(credentials.credentials)


PeopleDependency = Annotated[PeopleContext, Depends(_people)]
"""What the routes stand on."""

Person = Annotated[Principal, Depends(_person)]
"""A caller who is a person; 403 `people_only` for an API key."""

TokenHash = Annotated[bytes, Depends(_token_hash)]
"""The hash of the token that the call was made with."""
