"""Serves the portal of a webhook's developers: health, deliveries and attempts, without an account.

A link carries its token in the fragment (`#…`), which browsers do not send and no log has. A script, or the
person, posts it as a form; a cookie that scripts cannot read then holds it.
"""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.console.delivery import delivery_views
from app.console.delivery.verification_snippets import load_snippets
from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError, ConsoleApi, SignInNeededError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import LANGUAGE_COOKIE, choose_language, uses_https
from app.console.framework.form_fields import FormState, read_anonymous_form
from app.console.framework.page_rendering import redirect_to, render_anonymous_page
from app.platform.identity.session_cookie import CONSOLE_PATH

PORTAL_PATH: Final = f"{CONSOLE_PATH}/portal"
router: Final = APIRouter(prefix=PORTAL_PATH, include_in_schema=False, route_class=ConsoleRoute)
_COOKIE: Final = "vigie_portal"
# Browsers accept a name with this prefix only from https, for the whole host, and from no other host.
_SECURE_COOKIE: Final = f"__Host-{_COOKIE}"
_WEBHOOK: Final = f"{PORTAL_PATH}/webhook"
_PAGE_ROWS: Final = 50
_GONE: Final = 401


@router.get("")
async def show_entry(request: Request) -> Response:
    """Show the page of a link. Its script posts the token; without scripts, the person pastes the link."""
    return _show_entry(request, FormState())


def _show_entry(request: Request, form: FormState, status: int = 200) -> Response:
    return _render(
        request, "delivery/portal_entry.html", title="Deliveries to your receiver", status=status, form=form
    )


def _render(request: Request, template: str, *, title: str, **more: Any) -> Response:  # noqa: ANN401 (of the template)
    page = render_anonymous_page(
        request, template, title=title, views=delivery_views, words=delivery_words, **more
    )
    if request.query_params.get("lang"):
        page.set_cookie(LANGUAGE_COOKIE, choose_language(request), path=CONSOLE_PATH, samesite="lax")
    return page


def _cookie_name(request: Request) -> str:
    return _SECURE_COOKIE if uses_https(request) else _COOKIE


@router.post("")
async def enter(request: Request) -> Response:
    """Open the portal with the token of a link."""
    fields = await read_anonymous_form(request)
    # The whole link may have been pasted.
    token = fields.one("token").rpartition("#")[2]
    try:
        opened = await ConsoleApi.of(request, token or "-").get("/v1/portal")
    except SignInNeededError:
        problem = ApiProblemError({"detail": "", "code": "link_invalid"}, _GONE)
        return _show_entry(request, FormState(problem=problem), _GONE)
    answer = redirect_to(request, _WEBHOOK)
    left = datetime.fromisoformat(opened["expires_at"]) - datetime.now(UTC)
    https = uses_https(request)
    answer.set_cookie(
        _cookie_name(request),
        token,
        max_age=max(0, int(left.total_seconds())),
        path="/",
        secure=https,
        httponly=True,
        samesite="lax",
    )
    return answer


@router.post("/leave")
async def leave(request: Request) -> Response:
    """Forget the token in this browser."""
    await read_anonymous_form(request)
    answer = redirect_to(request, PORTAL_PATH)
    https = uses_https(request)
    answer.delete_cookie(_cookie_name(request), path="/", secure=https, httponly=True, samesite="lax")
    return answer


def _open(request: Request) -> ConsoleApi:
    """Return the API as the holder of the link sees it (SignInNeededError)."""
    token = request.cookies.get(_cookie_name(request))
    if not token:
        raise SignInNeededError
    return ConsoleApi.of(request, token)


@router.get("/webhook")
async def show_webhook(request: Request) -> Response:
    """Show the webhook of the link: health, deliveries, and programs that verify signatures."""
    parameters = request.query_params
    window = "P7D" if parameters.get("window") == "P7D" else "P1D"
    state = parameters.get("state") or None
    try:
        api = _open(request)
        webhook = await api.get("/v1/portal")
        health = await api.get("/v1/portal/health", window=window)
        page = await api.get(
            "/v1/portal/deliveries", state=state, cursor=parameters.get("cursor"), limit=_PAGE_ROWS
        )
    except SignInNeededError:
        return redirect_to(request, PORTAL_PATH)
    following = page["next"]
    return _render(
        request,
        "delivery/portal_webhook.html",
        title="Deliveries to your receiver",
        webhook=webhook,
        health=health,
        window=window,
        state=state,
        bars=delivery_views.chart_attempts(page["data"]),
        deliveries=page["data"],
        following=build_next_address(following, {"state": state}),
        snippets=load_snippets(),
    )


@router.get("/deliveries/{delivery_id}")
async def show_delivery(request: Request, delivery_id: str) -> Response:
    """Show a delivery: each attempt with its request and its answer."""
    try:
        api = _open(request)
        webhook = await api.get("/v1/portal")
        delivery = await api.get(f"/v1/portal/deliveries/{delivery_id}")
    except SignInNeededError:
        return redirect_to(request, PORTAL_PATH)
    return _render(
        request,
        "delivery/portal_delivery.html",
        title="Delivery",
        webhook=webhook,
        delivery=delivery,
        body=delivery_views.format_body(delivery["body"]),
    )
