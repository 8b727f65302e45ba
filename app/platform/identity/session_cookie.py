"""Names, reads and sets the cookie that holds the session token of a browser.

Only pages below `CONSOLE_PATH` read it. The API takes the token from the `Authorization` header alone, so
that no other website can make a browser call it.
"""

from datetime import UTC, datetime
from typing import Final

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

CONSOLE_PATH: Final = "/console"
"""The path of the pages that the cookie signs in to."""
_NAME: Final = "vigie_session"
# Browsers accept a name with this prefix only from https, for the whole host, and from no other host.
_SECURE_NAME: Final = f"__Host-{_NAME}"


def is_console_path(path: str) -> bool:
    """Return whether a path is that of a page of the console."""
    return path == CONSOLE_PATH or path.startswith(f"{CONSOLE_PATH}/")


def _name(*, https: bool) -> str:
    return _SECURE_NAME if https else _NAME


def read_session_cookie(scope: Scope, *, https: bool) -> str | None:
    """Return the session token of a request's cookie; None without one."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            token: str | None = cookie_parser(value.decode("latin-1")).get(_name(https=https))
            if token:
                return token
    return None


def set_session_cookie(response: Response, token: str, expires_at: datetime, *, https: bool) -> None:
    """Set the cookie until the session ends."""
    response.set_cookie(
        _name(https=https),
        token,
        max_age=max(0, int((expires_at - datetime.now(UTC)).total_seconds())),
        path="/",
        secure=https,
        httponly=True,
        samesite="lax",
    )


def delete_session_cookie(response: Response, *, https: bool) -> None:
    """Delete the cookie."""
    response.delete_cookie(_name(https=https), path="/", secure=https, httponly=True, samesite="lax")
