"""Defines FastAPI dependencies: the objects that sign-in needs, the signed-in person, and their session."""

from dataclasses import dataclass
from typing import Annotated, Final, Self

from fastapi import Depends, Request

from app.people.oidc_provider import OidcProvider
from app.people.password_hashing import PasswordHashingPool
from app.people.sessions import SessionAuthenticator
from app.people.settings import OidcSettings, SessionSettings
from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import Database
from app.platform.identity.caller_authentication import Principal, bearer, current_principal
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError
from app.platform.kernel.secret_tokens import hash_key
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer

WELCOME: Final = "/welcome"


@dataclass(frozen=True, slots=True)
class PeopleContext:
    """The dependencies of sign-in.

    Attributes:
        database: The database.
        settings: The settings of sessions and sign-in limits.
        hasher: Hashes passwords.
        sessions: Authenticates session tokens.
        oidc: The OpenID Connect provider; None: not configured.
        installation: The base URL of links, and the mail server.
        sealer: Encrypts challenges, and the secrets of authenticator apps.
    """

    database: Database
    settings: SessionSettings
    hasher: PasswordHashingPool
    sessions: SessionAuthenticator
    oidc: OidcProvider | None
    installation: InstallationSettings
    sealer: SecretSealer

    @classmethod
    def of(
        cls,
        settings: SessionSettings,
        oidc: OidcSettings,
        api: ApiSettings,
        database: Database,
        *,
        installation: InstallationSettings,
        sealer: SecretSealer,
    ) -> Self:
        """Build the dependencies without connecting to anything.

        Args:
            settings: The settings of sessions and sign-in limits.
            oidc: The OpenID Connect provider.
            api: The base URL to which the provider redirects.
            database: The database.
            installation: The base URL of links, and the mail server.
            sealer: Encrypts challenges, and the secrets of authenticator apps.
        """
        return cls(
            database,
            settings,
            PasswordHashingPool(settings),
            SessionAuthenticator(database, settings),
            OidcProvider.of(oidc, api.base_url),
            installation,
            sealer,
        )

    @property
    def base_url(self) -> str:
        """The base URL of links."""
        return self.installation.base_url

    def link(self, token: str) -> str:
        """Make the link to the page that uses a token. Browsers do not send a fragment, so no log has it."""
        return f"{self.base_url}{WELCOME}#{token}"


async def _person(principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
    if principal.kind != "user":
        raise ForbiddenError(
            "Only a signed-in person can call this. Use the token of a sign-in instead of an API key.",
            code="people_only",
        )
    return principal


async def _token_hash(request: Request, _: Annotated[Principal, Depends(_person)]) -> bytes:
    credentials = await bearer(request)
    if credentials is None:
        raise UnauthorisedError("Send `Authorization: Bearer vgs_…`.")
    return hash_key(credentials.credentials)


PeopleDependency = Annotated[PeopleContext, Depends(make_resource_dependency(PeopleContext))]
"""The dependencies of sign-in, for routes."""

Person = Annotated[Principal, Depends(_person)]
"""A caller that is a person; 403 `people_only` for an API key."""

TokenHash = Annotated[bytes, Depends(_token_hash)]
"""The hash of the session token of the request."""
