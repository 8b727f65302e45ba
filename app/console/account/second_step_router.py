"""Serves the second step of a sign-in, and sign-in with a passkey alone."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.console.account.factor_forms import FactorQuestion, parse_object, read_given_factor
from app.console.framework.api_calls import ApiProblemError, ConsoleApi
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_session import start_browser_session
from app.console.framework.console_visit import SIGN_IN_PATH, parse_console_page
from app.console.framework.form_fields import FormState, read_anonymous_form
from app.console.framework.page_rendering import render_anonymous_page
from app.platform.http.contract.html_forms import refuse_foreign_form

router: Final = APIRouter(prefix=SIGN_IN_PATH, include_in_schema=False, route_class=ConsoleRoute)
_BEGIN_AGAIN: Final = "challenge_refused"


def ask_for_factor(
    request: Request, page: str, question: FactorQuestion, form: FormState | None = None, status: int = 200
) -> Response:
    """Show the form of the second step.

    Args:
        request: The request.
        page: The page to show after the sign-in.
        question: The challenge, and the person's ways to answer it.
        form: What was typed, and why it was refused.
        status: The status of the response.
    """
    return render_anonymous_page(
        request,
        "account/second_step.html",
        title="Second step",
        status=status,
        next_page=page,
        question=question,
        form=form or FormState(),
    )


@router.post("/second-factor")
async def sign_in_with_factor(request: Request) -> Response:
    """Complete the sign-in with a code or a passkey."""
    fields = await read_anonymous_form(request)
    page = parse_console_page(fields.one("next"))
    question = FactorQuestion.of_form(fields)
    body = {"challenge": question.challenge, **read_given_factor(fields)}
    try:
        session = await ConsoleApi.of(request, None).post("/v1/sessions/second-factor", body)
    except ApiProblemError as error:
        form = FormState(fields, error)
        if error.code == _BEGIN_AGAIN:
            return _show_first_step(request, page, form, error.status)
        return ask_for_factor(request, page, question, form, error.status)
    return await start_browser_session(request, page, session)


@router.post("/passkey-options")
async def begin_passkey(request: Request) -> Response:
    """Return the options with which the browser offers its passkeys, for the script of the page."""
    refuse_foreign_form(request)
    begun = await ConsoleApi.of(request, None).post("/v1/sessions/passkey-options")
    return JSONResponse(begun, headers={"Cache-Control": "no-store"})


@router.post("/passkey")
async def sign_in_with_passkey(request: Request) -> Response:
    """Sign in with a passkey alone."""
    fields = await read_anonymous_form(request)
    page = parse_console_page(fields.one("next"))
    body = {"challenge": fields.one("challenge"), "passkey": parse_object(fields.one("passkey")) or {}}
    try:
        session = await ConsoleApi.of(request, None).post("/v1/sessions/passkey", body)
    except ApiProblemError as error:
        return _show_first_step(request, page, FormState(problem=error), error.status)
    return await start_browser_session(request, page, session)


def _show_first_step(request: Request, page: str, form: FormState, status: int) -> Response:
    return render_anonymous_page(
        request,
        "account/sign_in.html",
        title="Sign in",
        status=status,
        next_page=page,
        provider=None,
        passkeys=True,
        expired=False,
        form=form,
    )
