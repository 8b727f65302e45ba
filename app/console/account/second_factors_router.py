"""Serves the pages of a person's own second factors: authenticator app, passkeys and recovery codes."""

import io
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import segno
from fastapi import APIRouter, Response

from app.console.account.factor_forms import FactorQuestion, parse_object, read_given_factor
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ACCOUNT_PATH, ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page

router: Final = APIRouter(prefix=ACCOUNT_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FACTORS: Final = f"{ACCOUNT_PATH}#factors"
_PROOF_NEEDED: Final = "reauthentication_required"
_TOTP_URI: Final = "otpauth://totp/"


def draw_qr_code(text: str) -> str:
    """Draw a QR code as an SVG image in a data URL, which needs no request and no inline markup."""
    drawn = io.BytesIO()
    # Dark on light with its quiet zone, also on a dark page: cameras need it.
    segno.make(text, error="m").save(drawn, kind="svg", scale=5, border=4, dark="#000", light="#fff")
    return f"data:image/svg+xml,{quote(drawn.getvalue())}"


def _ask_for_proof(visit: ConsoleVisit, problem: ApiProblemError) -> Response:
    """Ask who the person is, if a change needs a recent proof; other problems are raised again."""
    if problem.code != _PROOF_NEEDED:
        raise problem
    return _show_proof(visit, FactorQuestion.of_problem(problem.problem), FormState(), problem.status)


def _show_proof(visit: ConsoleVisit, question: FactorQuestion, form: FormState, status: int) -> Response:
    return render_console_page(
        visit,
        "account/reauthenticate.html",
        title=visit.t("Confirm that it is you"),
        status=status,
        question=question,
        form=form,
    )


@router.post("/reauthenticate")
async def reauthenticate_person(visit: Visit) -> Response:
    """Prove again who the person is."""
    fields = await read_console_form(visit)
    question = FactorQuestion.of_form(fields)
    body = read_given_factor(fields)
    if "passkey" in body:
        body["challenge"] = question.challenge
    try:
        await visit.api.post("/v1/me/reauthentication", body)
    except ApiProblemError as error:
        return _show_proof(visit, question, FormState(fields, error), error.status)
    return redirect_to(visit.request, _FACTORS, done="proved")


@router.post("/totp")
async def start_totp(visit: Visit) -> Response:
    """Make the secret of an authenticator app, and show it as a QR code."""
    await read_console_form(visit)
    try:
        started = await visit.api.post("/v1/me/totp")
    except ApiProblemError as error:
        return _ask_for_proof(visit, error)
    return _show_totp(visit, started["uri"], FormState())


def _show_totp(visit: ConsoleVisit, uri: str, form: FormState, status: int = 200) -> Response:
    secret = parse_qs(urlsplit(uri).query).get("secret", [""])[0]
    return render_console_page(
        visit,
        "account/totp.html",
        title=visit.t("Set up an authenticator app"),
        status=status,
        uri=uri,
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        drawing=draw_qr_code(uri),
        form=form,
    )


@router.post("/totp/confirm")
async def confirm_totp(visit: Visit) -> Response:
    """Enrol the app that shows the right code."""
    fields = await read_console_form(visit)
    try:
        enrolled = await visit.api.post("/v1/me/totp/confirm", {"code": fields.one("code")})
    except ApiProblemError as error:
        uri = fields.one("uri")
        if error.code == _PROOF_NEEDED:
            return _ask_for_proof(visit, error)
        if error.code == "totp_not_started" or not uri.startswith(_TOTP_URI):
            raise
        return _show_totp(visit, uri, FormState(fields, error), error.status)
    return _show_enrolled(visit, enrolled)


def _show_enrolled(visit: ConsoleVisit, enrolled: dict[str, Any]) -> Response:
    codes = enrolled["recovery_codes"]
    if codes is None:
        return redirect_to(visit.request, _FACTORS, done="factor_added")
    return _show_codes(visit, codes, is_first=True)


def _show_codes(visit: ConsoleVisit, codes: list[str], *, is_first: bool) -> Response:
    text = "\n".join(["Vigie", visit.me["user"]["email"], *codes, ""])
    return render_console_page(
        visit,
        "account/recovery_codes.html",
        title=visit.t("Store your recovery codes"),
        codes=codes,
        file=f"data:text/plain;charset=utf-8,{quote(text)}",
        is_first=is_first,
    )


@router.post("/totp/remove")
async def remove_totp(visit: Visit) -> Response:
    """Remove the authenticator app."""
    return await _remove(visit, "/v1/me/totp")


@router.post("/passkeys/{passkey_id}/remove")
async def remove_passkey(visit: Visit, passkey_id: str) -> Response:
    """Remove a passkey."""
    return await _remove(visit, f"/v1/me/passkeys/{passkey_id}")


async def _remove(visit: ConsoleVisit, path: str) -> Response:
    await read_console_form(visit)
    try:
        await visit.api.delete(path)
    except ApiProblemError as error:
        return _ask_for_proof(visit, error)
    return redirect_to(visit.request, _FACTORS, done="factor_removed")


@router.get("/passkeys/new")
async def show_new_passkey(visit: Visit) -> Response:
    """Show the form with which the browser makes a passkey."""
    return await _show_new_passkey(visit, FormState())


async def _show_new_passkey(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    # New options for each attempt: a challenge works once.
    try:
        begun = await visit.api.post("/v1/me/passkeys/options")
    except ApiProblemError as error:
        return _ask_for_proof(visit, error)
    return render_console_page(
        visit,
        "account/passkey_new.html",
        title=visit.t("Add a passkey"),
        status=status,
        challenge=begun["challenge"],
        options=begun["options"],
        form=form,
    )


@router.post("/passkeys")
async def create_passkey(visit: Visit) -> Response:
    """Enrol the passkey that the browser made."""
    fields = await read_console_form(visit)
    body = {
        "challenge": fields.one("challenge"),
        "name": fields.one("name"),
        "credential": parse_object(fields.one("passkey")) or {},
    }
    try:
        enrolled = await visit.api.post("/v1/me/passkeys", body)
    except ApiProblemError as error:
        if error.code == _PROOF_NEEDED:
            return _ask_for_proof(visit, error)
        return await _show_new_passkey(visit, FormState(fields, error), error.status)
    return _show_enrolled(visit, enrolled)


@router.post("/recovery-codes")
async def replace_recovery_codes(visit: Visit) -> Response:
    """Replace the recovery codes, and show the new ones once."""
    await read_console_form(visit)
    try:
        made = await visit.api.post("/v1/me/recovery-codes")
    except ApiProblemError as error:
        return _ask_for_proof(visit, error)
    return _show_codes(visit, made["recovery_codes"], is_first=False)
