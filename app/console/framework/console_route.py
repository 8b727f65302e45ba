"""Shows the errors of console pages as pages: a sign-in, or what the API refused and why."""

from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.console.framework.api_calls import SignInNeededError
from app.console.framework.console_visit import (
    ACCOUNT_PATH,
    SAFE_METHODS,
    SIGN_IN_PATH,
    ConsoleVisit,
    SecondFactorMissingError,
    parse_console_page,
)
from app.console.framework.form_fields import PAGE_FIELD, read_anonymous_form
from app.console.framework.page_rendering import redirect_to, render_anonymous_page, render_console_page
from app.platform.identity.session_cookie import CONSOLE_PATH
from app.platform.kernel.errors import NotFoundError, VigieError

_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403


class ConsoleRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that FastAPI calls."""
        handle = super().get_route_handler()

        async def handle_with_pages(request: Request) -> Response:
            try:
                _check_path_parameters(request)
                return await handle(request)
            except SignInNeededError:
                return await _show_sign_in(request)
            except SecondFactorMissingError:
                return redirect_to(request, f"{ACCOUNT_PATH}#factors")
            except VigieError as error:
                return _show_error(request, error)

        return handle_with_pages


def _check_path_parameters(request: Request) -> None:
    """Refuse ids that would end the path of a call of the API, or begin its query (NotFoundError)."""
    for name, value in request.path_params.items():
        if isinstance(value, str) and quote(value, safe="") != value:
            raise NotFoundError(name.removesuffix("_id"), value)


async def _show_sign_in(request: Request) -> Response:
    if request.method in SAFE_METHODS:
        page = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        mark = "" if page == CONSOLE_PATH else f"?next={quote(page, safe='/')}"
        return redirect_to(request, f"{SIGN_IN_PATH}{mark}")
    # The script of the page has stored what was typed, and restores it on the page after the sign-in.
    try:
        page = parse_console_page((await read_anonymous_form(request)).one(PAGE_FIELD))
    except VigieError:
        page = CONSOLE_PATH
    return render_anonymous_page(
        request,
        "account/sign_in.html",
        title="Sign in",
        status=401,
        next_page=page,
        provider=None,
        expired=True,
    )


def _show_error(request: Request, error: VigieError) -> Response:
    visit: ConsoleVisit | None = getattr(request.state, "visit", None)
    if visit is None:
        return render_anonymous_page(
            request, "framework/problem.html", title="This did not work", status=error.status, problem=error
        )
    if error.status == _NOT_FOUND:
        title = visit.t("There is no such page")
    elif error.status == _FORBIDDEN:
        title = visit.t("You may not do this")
    else:
        title = visit.t("This did not work")
    return render_console_page(
        visit, "framework/problem.html", title=title, status=error.status, problem=error
    )
