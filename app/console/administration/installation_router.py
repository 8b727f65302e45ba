"""Serves the settings of the installation, for the platform's administrators: mail server, public address."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import ADMINISTRATION_PATH, render_administration
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to

_PATH: Final = f"{ADMINISTRATION_PATH}/settings"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def show_settings(visit: Visit) -> Response:
    """Show the settings."""
    return await _show(visit)


async def _show(
    visit: ConsoleVisit, *, status: int = 200, outcome: Mapping[str, Any] | None = None, **forms: FormState
) -> Response:
    mail, address = await visit.api.get_all("/v1/settings/mail", "/v1/settings/public-url")
    return render_administration(
        visit,
        "administration/installation.html",
        title=visit.t("Settings of the installation"),
        part="settings",
        status=status,
        mail=mail,
        address=address,
        outcome=outcome,
        forms={name: forms.get(name, FormState()) for name in ("mail", "test", "address")},
    )


def _read_mail(fields: FormFields) -> dict[str, Any]:
    body: dict[str, Any] = {
        "host": fields.one("host"),
        "port": fields.number("port") or 587,
        "security": fields.one("security"),
        "username": fields.optional("username"),
        "sender": fields.one("sender"),
    }
    if fields.verbatim("password"):
        body["password"] = fields.verbatim("password")
    return body


@router.post("/mail")
async def set_mail(visit: Visit) -> Response:
    """Set the mail server, or forget it."""
    fields = await read_console_form(visit)
    try:
        if fields.has("forget"):
            await visit.api.delete("/v1/settings/mail")
        else:
            await visit.api.put("/v1/settings/mail", _read_mail(fields))
    except ApiProblemError as error:
        return await _show(visit, status=error.status, mail=FormState(fields, error))
    return redirect_to(visit.request, _PATH, done="saved")


@router.post("/mail/test")
async def send_test_mail(visit: Visit) -> Response:
    """Send a test mail, and show what the mail server answered."""
    fields = await read_console_form(visit)
    try:
        outcome = await visit.api.post("/v1/settings/mail/test", {"to": fields.one("to")})
    except ApiProblemError as error:
        return await _show(visit, status=error.status, test=FormState(fields, error))
    return await _show(visit, outcome=outcome, test=FormState(fields))


@router.post("/public-url")
async def set_public_url(visit: Visit) -> Response:
    """Set the public address, or forget it."""
    fields = await read_console_form(visit)
    try:
        if fields.has("forget"):
            await visit.api.delete("/v1/settings/public-url")
        else:
            await visit.api.put("/v1/settings/public-url", {"url": fields.one("url")})
    except ApiProblemError as error:
        return await _show(visit, status=error.status, address=FormState(fields, error))
    return redirect_to(visit.request, _PATH, done="saved")
