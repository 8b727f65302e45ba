"""Identifies the person who looks at a page, by the session cookie of the browser."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from starlette.datastructures import QueryParams

from app.console.framework.api_calls import ConsoleApi, SignInNeededError
from app.console.framework.page_translation import PageTranslator
from app.platform.config.api_settings import ApiSettings
from app.platform.identity.session_cookie import CONSOLE_PATH, is_console_path, read_session_cookie
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError
from app.presentation.languages import Language, get_language
from app.presentation.local_formatter import LocalFormatter
from app.public_register.page_rendering import negotiate_language

LANGUAGE_COOKIE: Final = "vigie_language"
"""The language that a person chose before the sign-in."""
ACCOUNT_PATH: Final = f"{CONSOLE_PATH}/account"
"""The page of a person's own account, and the prefix of its actions."""
SIGN_IN_PATH: Final = f"{CONSOLE_PATH}/sign-in"
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
DONE_PARAMETER: Final = "done"
"""The query parameter with the name of the message that a page shows after an action."""
_ALWAYS_OPEN: Final = ("/sign-out", "/organisation", "/language")
_ALL: Final = "*"
UTC_NAME: Final = "UTC"
"""The time zone of an organisation without sites, and of the audit log."""


class SecondFactorMissingError(Exception):
    """The organisation requires a second factor, and the person has none: only the account is open."""


def uses_https(request: Request) -> bool:
    """Return whether browsers reach the installation by https."""
    return get_resource(request.app, ApiSettings).public_url.startswith("https:")


def make_form_token(token: str, organisation: str = "") -> str:
    """Make the token of forms, which only pages of this session contain (CSRF).

    It is bound to the organisation that the page shows: a form of another tab, opened before the person
    switched to another organisation, must not create something there.
    """
    return hmac.new(token.encode(), f"console form {organisation}".encode(), hashlib.sha256).hexdigest()


def choose_language(request: Request) -> Language:
    """Choose the language of a page for a person who has not signed in."""
    asked = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
    return negotiate_language(asked, request.headers.get("accept-language", ""))


def parse_console_page(page: str) -> str:
    """Return a path of the console that a browser sent; the first page for anything else.

    A link must not lead to another website after the sign-in.
    """
    path, mark, query = page.partition("?")
    is_plain = all(character.isprintable() and character != "\\" for character in page)
    if not is_plain or not is_console_path(path) or "//" in path or path.startswith(SIGN_IN_PATH):
        return CONSOLE_PATH
    return f"{path}{mark}{query}"


def read_page_address(request: Request) -> str:
    """Return the path and query at which a browser can read a page again.

    A page that answers a form is at the address of the form's page. The message after an action belongs to
    no address: it is shown once.
    """
    if request.method not in SAFE_METHODS:
        address: str = getattr(request.state, "page_address", request.url.path)
        return address
    parts = [each for each in request.url.query.split("&") if each.partition("=")[0] != DONE_PARAMETER]
    query = "&".join(parts)
    return f"{request.url.path}?{query}" if query else request.url.path


@dataclass(slots=True)
class ConsoleVisit:
    """A request of a signed-in person.

    Attributes:
        request: The request.
        api: The API as the person sees it.
        me: The person, as `GET /v1/me` returns it.
        form_token: The token of forms.
    """

    request: Request
    api: ConsoleApi
    me: Mapping[str, Any]
    form_token: str

    @property
    def language(self) -> Language:
        """The language of the person."""
        user = self.me["user"]
        return get_language(user["locale"] if user else "en")

    @property
    def texts(self) -> PageTranslator:
        """The texts of the page."""
        return PageTranslator(LocalFormatter(self.language))

    @property
    def zone(self) -> str:
        """The time zone of times that belong to no site: that of the organisation's first site."""
        return self.me["timezone"] or UTC_NAME

    @property
    def query(self) -> QueryParams:
        """The query of the page: of its address, also for a page that answers a form."""
        return QueryParams(read_page_address(self.request).partition("?")[2])

    def move_to(self, path: str) -> None:
        """Make a path the address of this page, if the form of another page led to it."""
        if read_page_address(self.request).partition("?")[0] != path:
            self.request.state.page_address = path

    def formatter(self, zone: str = UTC_NAME) -> LocalFormatter:
        """Make the formatter of a time zone."""
        return LocalFormatter(self.language, ZoneInfo(zone))

    def t(self, english: str, /, **values: object) -> str:
        """Translate a text of the console."""
        return self.texts.t(english, **values)

    def can(self, scope: str) -> bool:
        """Return whether the person has a scope in the present organisation."""
        scopes = self.me["scopes"]
        return _ALL in scopes or scope in scopes

    def require(self, *scopes: str) -> None:
        """Refuse a page whose form the person could not send.

        Raises:
            ForbiddenError: The person has none of these scopes.
        """
        if not any(self.can(scope) for scope in scopes):
            needed = " or ".join(f"`{scope}`" for scope in scopes)
            raise ForbiddenError(
                f"Your role may not do this: it needs the scope {needed}. Ask an owner of your organisation.",
                extra={"scope": scopes[0]},
            )


async def open_visit(request: Request) -> ConsoleVisit:
    """FastAPI dependency: the visit of a signed-in person.

    Raises:
        SignInNeededError: The browser has no session, or the session has ended.
        SecondFactorMissingError: The organisation requires a second factor, and the person has none.
    """
    token = read_session_cookie(request.scope, https=uses_https(request))
    if token is None:
        raise SignInNeededError
    api = ConsoleApi.of(request, token)
    me = await api.get("/v1/me")
    # Pages show only the calls for their own content.
    api.calls.clear()
    if me["kind"] != "user":
        raise SignInNeededError
    form_token = make_form_token(token, me["organisation"]["id"])
    request.state.visit = visit = ConsoleVisit(request, api, me, form_token)
    if me["second_factor"] == "missing" and not _needs_no_factor(request.url.path):
        raise SecondFactorMissingError
    return visit


def _needs_no_factor(path: str) -> bool:
    return path.endswith(_ALWAYS_OPEN) or path.startswith(ACCOUNT_PATH)


Visit = Annotated[ConsoleVisit, Depends(open_visit)]
"""The visit of a signed-in person, for routes."""
