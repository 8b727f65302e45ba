"""Serves the page on which an installer without an account registers a box with a claim code."""

from typing import Final

from fastapi import APIRouter, Request, Response

from app.console.framework.api_calls import ApiProblemError, ConsoleApi
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import LANGUAGE_COOKIE, choose_language
from app.console.framework.form_fields import FormState, read_anonymous_form
from app.console.framework.page_rendering import render_anonymous_page
from app.platform.identity.session_cookie import CONSOLE_PATH

REGISTER_PATH: Final = f"{CONSOLE_PATH}/register"
"""Labels have it with the code as fragment, which browsers do not send: no log has the code."""
router: Final = APIRouter(prefix=REGISTER_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def show_registration(request: Request) -> Response:
    """Show the form."""
    shown = _show_form(request, FormState())
    if request.query_params.get("lang"):
        shown.set_cookie(LANGUAGE_COOKIE, choose_language(request), path=CONSOLE_PATH, samesite="lax")
    return shown


def _show_form(request: Request, form: FormState, status: int = 200) -> Response:
    return render_anonymous_page(
        request, "fleet/box_registration.html", title="Register a box", status=status, form=form, box=None
    )


@router.post("")
async def register_box(request: Request) -> Response:
    """Register a box, and show its credentials once."""
    fields = await read_anonymous_form(request)
    body = {"code": fields.one("code"), "id": fields.one("id"), "name": fields.optional("name")}
    try:
        box = await ConsoleApi.of(request, None).post("/v1/claims/redeem", body)
    except ApiProblemError as error:
        return _show_form(request, FormState(fields, error), error.status)
    return render_anonymous_page(
        request, "fleet/box_registration.html", title="The box is registered", status=201, box=box
    )
