"""Serves the page of a person's own account: name, language, password, factors, and sessions."""

from typing import Final

from fastapi import APIRouter, Response

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ACCOUNT_PATH, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page

router: Final = APIRouter(prefix=ACCOUNT_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def show_account(visit: Visit) -> Response:
    """Show the account."""
    return await _show(visit)


async def _show(
    visit: Visit, *, profile: FormState | None = None, password: FormState | None = None, status: int = 200
) -> Response:
    sessions, factors = await visit.api.get_all(
        "/v1/me/sessions?sort=-last_used_at&limit=100", "/v1/me/second-factors"
    )
    return render_console_page(
        visit,
        "account/account.html",
        title=visit.t("Account and security"),
        status=status,
        user=visit.me["user"],
        sessions=sessions["data"],
        factors=factors,
        profile=profile or FormState(),
        password=password or FormState(),
    )


@router.post("/profile")
async def change_profile(visit: Visit) -> Response:
    """Change name and language."""
    fields = await read_console_form(visit)
    try:
        await visit.api.patch("/v1/me", {"name": fields.one("name"), "locale": fields.one("locale")})
    except ApiProblemError as error:
        return await _show(visit, profile=FormState(fields, error), status=error.status)
    return redirect_to(visit.request, ACCOUNT_PATH, done="saved")


@router.post("/password")
async def change_password(visit: Visit) -> Response:
    """Change the password. The other sessions of the person end."""
    fields = await read_console_form(visit)
    names = ("current_password", "new_password")
    try:
        await visit.api.post("/v1/me/password", {name: fields.verbatim(name) for name in names})
    except ApiProblemError as error:
        return await _show(visit, password=FormState(fields, error), status=error.status)
    return redirect_to(visit.request, ACCOUNT_PATH, done="saved")


@router.post("/sessions/{session_id}/end")
async def end_session(visit: Visit, session_id: str) -> Response:
    """End the session of another browser."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/me/sessions/{session_id}")
    return redirect_to(visit.request, ACCOUNT_PATH, done="session_ended")
