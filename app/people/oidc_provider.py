"""Calls the OpenID Connect provider: discovery, the authorization URL, and the identity of a person.

Requests are bounded in time and size, follow no redirects, and use TLS unless the provider is on this
machine. The discovery document and the keys are cached for an hour. Keys are fetched again if a token names
an unknown one.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from joserfc.jwk import KeySet

from app.people.oidc_state import OidcSignInState, StateCookieSealer
from app.people.oidc_tokens import (
    ExpectedClaims,
    IdTokenError,
    UnknownKeyError,
    parse_signing_keys,
    verify_id_token,
)
from app.people.settings import OidcSettings, is_secure_provider_url
from app.platform.kernel.errors import UnauthorisedError, UnavailableError
from app.platform.observability.metrics_and_logs import get_logger

CALLBACK: Final = "/v1/oidc/callback"
_TIMEOUT_S: Final = 10.0
_BODY_LIMIT: Final = 262_144
_CACHE_S: Final = 3600.0
_KEYS_RETRY_S: Final = 60.0
_log = get_logger(__name__)


class OidcRefusedError(UnauthorisedError):
    """The provider did not identify the person, or its ID token is not valid."""

    code = "oidc_refused"


class OidcUnavailableError(UnavailableError):
    """The provider cannot be reached, or its response is not as specified."""

    code = "oidc_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The sign-in provider cannot be reached or sent an invalid response. Try again later."
        )


class VerifiedIdentity(NamedTuple):
    """The verified identity of a person at the provider.

    Attributes:
        issuer: The provider.
        subject: The provider's permanent identifier of the person.
        claims: All claims, such as `email`, `email_verified`, `name`, `locale`.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any]


class _Document(NamedTuple):
    """The endpoints and capabilities in the provider's discovery document."""

    authorization: str
    token: str
    keys: str
    userinfo: str | None
    posts_secret: bool


class OidcProvider:
    """A client of one OpenID Connect provider.

    Args:
        settings: The client id and secret, the scopes, and the provider's name.
        issuer: The provider's issuer URL.
        base_url: The base URL of Vigie for browsers.
    """

    def __init__(self, settings: OidcSettings, issuer: str, base_url: str) -> None:
        self.name = settings.name
        self.issuer = issuer
        self.state_cookies = StateCookieSealer(settings.client_secret.get_secret_value())
        self._settings = settings
        self._redirect = base_url + CALLBACK
        self._document: _Document | None = None
        self._keys: KeySet | None = None
        self._document_at = self._keys_at = float("-inf")
        self._fetch_lock = asyncio.Lock()

    @classmethod
    def of(cls, settings: OidcSettings, base_url: str) -> Self | None:
        """Build the client from settings; None if no issuer is set."""
        return None if settings.issuer is None else cls(settings, settings.issuer, base_url)

    async def authorization_url(self, state: OidcSignInState) -> str:
        """Make the URL to which the browser goes to sign in (OidcUnavailableError)."""
        document = await self._get_document()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect,
            "scope": self._settings.scopes,
            "state": state.state,
            "nonce": state.nonce,
            "code_challenge": state.challenge,
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in document.authorization else "?"
        return f"{document.authorization}{mark}{urlencode(query)}"

    async def identify(self, code: str, state: OidcSignInState, now: datetime) -> VerifiedIdentity:
        """Exchange an authorization code for the verified identity of a person.

        Args:
            code: The authorization code.
            state: The state of the sign-in.
            now: The time, with a time zone.

        Raises:
            OidcRefusedError: The provider refuses the code, or its ID token is not valid.
            OidcUnavailableError: The provider cannot be reached.
        """
        document = await self._get_document()
        answer = await self._redeem(document, code, state)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise OidcUnavailableError
        try:
            claims = await self._verify(document, token, state, now)
        except IdTokenError as error:
            _log.warning("id_token_refused", issuer=self.issuer, reason=str(error))
            raise OidcRefusedError(
                "The provider's ID token is not valid. Start the sign-in again."
            ) from error
        if "email" not in claims and document.userinfo is not None:
            claims = {**await self._fetch_userinfo(document.userinfo, answer, claims["sub"]), **claims}
        return VerifiedIdentity(self.issuer, claims["sub"], claims)

    async def _verify(
        self, document: _Document, token: str, state: OidcSignInState, now: datetime
    ) -> dict[str, Any]:
        expected = ExpectedClaims(self.issuer, self._settings.client_id, state.nonce)
        try:
            return verify_id_token(token, await self._signing_keys(document), expected, now)
        except UnknownKeyError:
            keys = await self._signing_keys(document, max_age_s=_KEYS_RETRY_S)
            return verify_id_token(token, keys, expected, now)

    async def _get_document(self) -> _Document:
        async with self._fetch_lock:
            if self._document is None or time.monotonic() - self._document_at > _CACHE_S:
                url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
                self._document = self._parse_document(await self._fetch("GET", url))
                self._document_at = time.monotonic()
            return self._document

    def _parse_document(self, found: Mapping[str, Any]) -> _Document:
        if found.get("issuer") != self.issuer:
            _log.error("oidc_issuer_differs", issuer=self.issuer, says=str(found.get("issuer"))[:200])
            raise OidcUnavailableError
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
        urls = [found.get(name) for name in names]
        for name, url in zip(names, urls, strict=True):
            if url is None and name == "userinfo_endpoint":
                continue
            if not isinstance(url, str) or not is_secure_provider_url(url.partition("?")[0]):
                _log.error("oidc_address_refused", issuer=self.issuer, name=name)
                raise OidcUnavailableError
        methods = found.get("token_endpoint_auth_methods_supported")
        posts = isinstance(methods, list) and "client_secret_basic" not in methods
        authorization, token, keys, userinfo = urls
        return _Document(str(authorization), str(token), str(keys), userinfo, posts)

    async def _signing_keys(self, document: _Document, *, max_age_s: float = _CACHE_S) -> KeySet:
        async with self._fetch_lock:
            if self._keys is None or time.monotonic() - self._keys_at > max_age_s:
                self._keys = parse_signing_keys(await self._fetch("GET", document.keys))
                self._keys_at = time.monotonic()
            return self._keys

    async def _redeem(self, document: _Document, code: str, state: OidcSignInState) -> Mapping[str, Any]:
        client, secret = self._settings.client_id, self._settings.client_secret.get_secret_value()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": state.verifier,
        }
        headers = {}
        if document.posts_secret:
            form |= {"client_id": client, "client_secret": secret}
        else:
            # Form-encoded before Basic authentication (RFC 6749, 2.3.1).
            encoded = aiohttp.encode_basic_auth(quote(client, safe=""), quote(secret, safe=""))
            headers["Authorization"] = encoded
        return await self._fetch("POST", document.token, data=form, headers=headers)

    async def _fetch_userinfo(self, url: str, answer: Mapping[str, Any], subject: str) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {answer.get('access_token')}"}
        found = await self._fetch("GET", url, headers=headers)
        if found.get("sub") != subject:
            raise OidcRefusedError("The provider sent the data of another person. Start the sign-in again.")
        return found

    async def _fetch(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Request a JSON object from the provider.

        Raises:
            OidcRefusedError: The provider refuses the request (400 or 401).
            OidcUnavailableError: Any other failure.
        """
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.request(method, url, data=data, headers=headers, allow_redirects=False) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_chunked(16_384):
                    body += chunk
                    if len(body) > _BODY_LIMIT:
                        break
                status = response.status
            found = msgspec.json.decode(body) if len(body) <= _BODY_LIMIT else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            _log.warning("oidc_provider_unreachable", url=url, error=type(error).__name__)
            raise OidcUnavailableError from error
        if method == "POST" and status in {400, 401}:
            reported = found.get("error") if isinstance(found, dict) else None
            _log.warning("oidc_code_refused", status=status, error=str(reported)[:100])
            raise OidcRefusedError("The provider no longer accepts this sign-in. Start it again.")
        if status != 200 or not isinstance(found, dict):  # noqa: PLR2004 (an HTTP status)
            _log.warning("oidc_provider_answered", url=url, status=status)
            raise OidcUnavailableError
        return found
