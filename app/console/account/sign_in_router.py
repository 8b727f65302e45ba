"""Serves the pages of sign-in and sign-out, the change of organisation and the person's language."""

from typing import Final

from fastapi import APIRouter, Request, Response

from app.console.account.factor_forms import FactorQuestion
from app.console.account.second_step_router import ask_for_factor
from app.console.framework.api_calls import ApiProblemError, ConsoleApi, SignInNeededError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_session import start_browser_session
from app.console.framework.console_visit import (
    LANGUAGE_COOKIE,
    SIGN_IN_PATH,
    Visit,
    choose_language,
    parse_console_page,
    uses_https,
)
from app.console.framework.form_fields import FormState, read_anonymous_form, read_console_form
from app.console.framework.page_rendering import redirect_to, render_anonymous_page
from app.people.oidc_router import OidcDisabledError, start_console_sign_in
from app.people.passkeys import RelyingParty
from app.people.sign_in_dependencies import PeopleDependency
from app.platform.identity.session_cookie import (
    CONSOLE_PATH,
    delete_session_cookie,
    read_session_cookie,
)

router: Final = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("/sign-in")
async def show_sign_in(request: Request, people: PeopleDependency) -> Response:
    """Show the form of sign-in, or the console to a person who is signed in."""
    page = parse_console_page(request.query_params.get("next", ""))
    token = read_session_cookie(request.scope, https=uses_https(request))
    if token is not None:
        try:
            await ConsoleApi.of(request, token).get("/v1/me")
        except (SignInNeededError, ApiProblemError):
            pass
        else:
            return redirect_to(request, page)
    return _show_form(request, people, page, FormState())


def _show_form(
    request: Request, people: PeopleDependency, page: str, form: FormState, status: int = 200
) -> Response:
    shown = render_anonymous_page(
        request,
        "account/sign_in.html",
        title="Sign in",
        status=status,
        next_page=page,
        provider=None if people.oidc is None else people.oidc.name,
        passkeys=RelyingParty.of(people.base_url) is not None,
        expired=False,
        form=form,
        organisation=request.query_params.get("organisation", ""),
    )
    if request.query_params.get("lang"):
        shown.set_cookie(LANGUAGE_COOKIE, choose_language(request), path=CONSOLE_PATH, samesite="lax")
    return shown


@router.post("/sign-in")
async def sign_in(request: Request, people: PeopleDependency) -> Response:
    """Sign in by password, and start a new session, or ask for the second factor."""
    fields = await read_anonymous_form(request)
    page = parse_console_page(fields.one("next"))
    api = ConsoleApi.of(request, None)
    body: dict[str, str] = {"email": fields.one("email"), "password": fields.verbatim("password")}
    if organisation := fields.optional("organisation_id"):
        body["organisation_id"] = organisation
    try:
        session = await api.post("/v1/sessions", body)
    except ApiProblemError as error:
        if error.code == "second_factor_required":
            return ask_for_factor(request, page, FactorQuestion.of_problem(error.problem))
        return _show_form(request, people, page, FormState(fields, error), error.status)
    return await start_browser_session(request, page, session)


@router.get("/sign-in/provider")
async def sign_in_by_provider(request: Request, people: PeopleDependency) -> Response:
    """Start the sign-in at the OpenID Connect provider."""
    if people.oidc is None:
        raise OidcDisabledError
    page = parse_console_page(request.query_params.get("next", ""))
    return await start_console_sign_in(people.oidc, people, page)


@router.post("/sign-out")
async def sign_out(visit: Visit) -> Response:
    """End this session, or all sessions of the person (`everywhere`)."""
    fields = await read_console_form(visit)
    if fields.has("everywhere"):
        listed = await visit.api.get("/v1/me/sessions", limit=200)
        for each in listed["data"]:
            if not each["current"]:
                await visit.api.delete(f"/v1/me/sessions/{each['id']}")
    await visit.api.delete("/v1/sessions/current")
    answer = redirect_to(visit.request, SIGN_IN_PATH)
    delete_session_cookie(answer, https=uses_https(visit.request))
    return answer


@router.post("/organisation")
async def switch_organisation(visit: Visit) -> Response:
    """Work for another organisation."""
    fields = await read_console_form(visit)
    await visit.api.post("/v1/sessions/switch", {"organisation_id": fields.one("organisation")})
    return redirect_to(visit.request, CONSOLE_PATH)


@router.post("/language")
async def choose_own_language(visit: Visit) -> Response:
    """Change the person's language."""
    fields = await read_console_form(visit)
    await visit.api.patch("/v1/me", {"locale": fields.one("language")})
    return redirect_to(visit.request, fields.page)
