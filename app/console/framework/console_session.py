"""Starts the session of a browser after a sign-in."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from fastapi import Request, Response

from app.console.framework.api_calls import ApiProblemError, ConsoleApi, SignInNeededError
from app.console.framework.console_visit import uses_https
from app.console.framework.page_rendering import redirect_to
from app.platform.identity.session_cookie import read_session_cookie, set_session_cookie


async def start_browser_session(request: Request, page: str, session: Mapping[str, Any]) -> Response:
    """Store a new session in the browser's cookie, end the former one, and redirect to a page.

    Args:
        request: The request of the sign-in.
        page: The page of the console to show.
        session: The session, as `POST /v1/sessions` returns it.
    """
    https = uses_https(request)
    former = read_session_cookie(request.scope, https=https)
    if former is not None:
        # It has ended already, or the cookie holds another token.
        with suppress(SignInNeededError, ApiProblemError):
            await ConsoleApi.of(request, former).delete("/v1/sessions/current")
    answer = redirect_to(request, page)
    expires_at = datetime.fromisoformat(session["expires_at"])
    set_session_cookie(answer, session["token"], expires_at, https=https)
    return answer
