"""An OpenID Connect provider of our own, that can be told to lie."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT_ID = "vigie"
CLIENT_SECRET = "s3cret with : and ü"

type Signer = Callable[["LyingProvider", dict[str, Any]], str]


def signed(provider: "LyingProvider", claims: dict[str, Any]) -> str:
    """What an honest provider gives."""
    key = provider.keys[-1]
    return jwt.encode({"alg": provider.algorithm, "kid": key.kid}, claims, key, [provider.algorithm])


@dataclass
class LyingProvider:
    """A provider whose only person is `claims`; `change` alters ID tokens, `sign` makes them.

    Attributes:
        asked: how often each path was asked for.
        seen: the last authorization request.
    """

    claims: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "248289761001",
            "email": "Ada@Example.com",
            "email_verified": True,
            "name": "Ada Lovelace",
            "locale": "fr-FR",
        }
    )
    change: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    sign: Signer = signed
    algorithm: str = "RS256"
    asked: dict[str, int] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    status: int = 200

    async def __aenter__(self) -> Self:
        self.keys: list[RSAKey | ECKey] = []
        self.new_key("RSA")
        self._codes: dict[str, dict[str, str]] = {}
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.issuer = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def new_key(self, kind: str) -> None:
        """From now on the newest one signs."""
        made = RSAKey.generate_key(2048) if kind == "RSA" else ECKey.generate_key("P-256")
        made.ensure_kid()
        self.keys.append(made)

    def _count(self, request: web.Request) -> None:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1

    async def _configuration(self, request: web.Request) -> web.Response:
        self._count(request)
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            **self.document,
        }
        return web.json_response(found, status=self.status)

    async def _keys(self, request: web.Request) -> web.Response:
        self._count(request)
        shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "use": "sig"}
        odd = [{"kty": "OKP", "crv": "unknown", "kid": "odd"}, {"kty": "RSA", "n": "!", "e": "!"}, 7]
        return web.json_response({"keys": [*KeySet(list(self.keys)).as_dict()["keys"], shared, *odd]})

    async def _authorize(self, request: web.Request) -> web.Response:
        self.seen = dict(request.query)
        code = secrets.token_urlsafe(16)
        self._codes[code] = self.seen
        back = {"code": code, "state": self.seen["state"], "iss": self.issuer, "session_state": "x"}
        raise web.HTTPFound(f"{self.seen['redirect_uri']}?{urlencode(back)}")

    async def _token(self, request: web.Request) -> web.Response:
        self._count(request)
        form = await request.post()
        asked = self._codes.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
            or not self._knows(request, {key: str(value) for key, value in form.items()})
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            **self.claims,
            **self.change,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return web.json_response({"access_token": "at", "id_token": self.sign(self, claims)})

    def _knows(self, request: web.Request, form: dict[str, str]) -> bool:
        if "client_secret" in form:
            return (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        client, _, secret = base64.b64decode(given).decode().partition(":")
        return (scheme, unquote(client), unquote(secret)) == ("Basic", CLIENT_ID, CLIENT_SECRET)

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at"
        return web.json_response(self.userinfo or {})
