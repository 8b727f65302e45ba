"""Renders the pages of the console."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment

from app.console.framework.api_calls import ApiCall
from app.console.framework.console_visit import (
    DONE_PARAMETER,
    SAFE_METHODS,
    ConsoleVisit,
    choose_language,
    make_form_token,
    read_page_address,
)
from app.console.framework.done_texts import DONE_TEXTS
from app.console.framework.form_fields import FORM_TOKEN, PAGE_FIELD, FormState
from app.console.framework.guarded_changes import ETAG_FIELD, choose_etag
from app.console.framework.page_translation import PageTranslator
from app.console.framework.problem_markup import make_explainer
from app.console.framework.shown_once import FORM_KEY, make_form_key
from app.console.framework.static_files import build_console_url
from app.console.framework.value_formats import ConsoleFormats
from app.notifications.events.event_types import EVENTS
from app.pages.page_layout import prefix_paths, read_root_path
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import VigieError
from app.presentation.local_formatter import LocalFormatter
from app.presentation.template_environment import create_template_environment
from app.public_register.map_tiles import MapTileSource
from app.public_register.page_rendering import build_static_url
from app.public_register.register_context import RegisterContext

_TEMPLATES: Final = Path(__file__).parent.parent / "templates"
_SEE_OTHER: Final = 303


def build_console_csp(tiles: MapTileSource) -> str:
    """Build the Content-Security-Policy of a page: own files only, and the map tiles of the operator."""
    images = " ".join(["img-src 'self' data:", *([tiles.origin] if tiles.origin else [])])
    return (
        f"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; {images}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@cache
def _environment() -> Environment:
    environment = create_template_environment(_TEMPLATES)
    environment.globals["own"] = build_console_url
    environment.globals["register_file"] = build_static_url
    environment.globals["token_field"] = FORM_TOKEN
    environment.globals["page_field"] = PAGE_FIELD
    environment.globals["etag_name"] = ETAG_FIELD
    environment.globals["choose_etag"] = choose_etag
    environment.globals["once_name"] = FORM_KEY
    environment.globals["make_form_key"] = make_form_key
    environment.globals["live_types"] = " ".join(sorted(EVENTS))
    environment.globals["done_texts"] = DONE_TEXTS
    environment.globals["swagger"] = build_swagger_url
    return environment


def build_swagger_url(call: ApiCall) -> str:
    """Return the address of an operation in Swagger UI."""
    if not call.operation:
        return "/docs"
    return f"/docs#/{quote(call.tag)}/{quote(call.operation)}"


def render_console_page(
    visit: ConsoleVisit,
    template: str,
    *,
    title: str,
    section: str = "",
    status: int = 200,
    zone: str | None = None,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> Response:
    """Render a page for a signed-in person.

    Args:
        visit: The visit.
        template: The name of the template.
        title: The title, in the person's language.
        section: The entry of the menu that the page belongs to.
        status: The status of the response.
        zone: The time zone of times that have no other one; None: that of the organisation's first site.
        **more: Further variables of the template.
    """
    return _respond(
        visit.request,
        template,
        formats=ConsoleFormats(visit.formatter(zone or visit.zone), datetime.now(UTC)),
        status=status,
        title=title,
        section=section,
        me=visit.me,
        can=visit.can,
        form_token=visit.form_token,
        calls=_list_distinct(visit.api.calls),
        done=visit.request.query_params.get(DONE_PARAMETER, ""),
        **{"form": FormState(), **more},
    )


def render_anonymous_page(
    request: Request,
    template: str,
    *,
    title: str,
    status: int = 200,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> Response:
    """Render a page for a visitor without a session; the arguments are those of `render_console_page`."""
    formats = ConsoleFormats(LocalFormatter(choose_language(request)), datetime.now(UTC))
    return _respond(
        request,
        template,
        formats=formats,
        status=status,
        title=PageTranslator(formats.formatter).t(title),
        section="",
        me=None,
        can=lambda _: False,
        form_token=make_form_token(""),
        calls=[],
        done="",
        **{"form": FormState(), **more},
    )


def _respond(
    request: Request,
    template: str,
    *,
    formats: ConsoleFormats,
    status: int,
    **variables: Any,  # noqa: ANN401 (whatever the template takes)
) -> Response:
    texts = PageTranslator(formats.formatter)
    tiles = get_resource(request.app, RegisterContext).tiles
    body = (
        _environment()
        .get_template(template)
        .render(
            t=texts.t,
            n=texts.n,
            explain=make_explainer(formats.formatter.language),
            f=formats.formatter,
            formats=formats,
            language=formats.formatter.language,
            path=request.url.path,
            page_address=read_page_address(request),
            is_answer=request.method not in SAFE_METHODS,
            root=read_root_path(request),
            tiles=tiles,
            **variables,
        )
    )
    headers = {
        "Content-Security-Policy": build_console_csp(tiles),
        "Content-Language": formats.formatter.language,
        "Cache-Control": "no-store",
        # Forms then carry the origin of their page, also from browsers without `Sec-Fetch-Site`.
        "Referrer-Policy": "same-origin",
    }
    problem: VigieError | None = variables.get("problem") or variables["form"].problem
    if problem is not None and problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return HTMLResponse(prefix_paths(body, read_root_path(request)), status, headers)


def redirect_to(request: Request, path: str, *, done: str = "") -> Response:
    """Redirect to a page of the console after a form was sent.

    Args:
        request: The request.
        path: The page, with its query.
        done: The name of the message that the page shows (`DONE_TEXTS`).
    """
    if done:
        page, mark, fragment = path.partition("#")
        path = f"{page}{'&' if '?' in page else '?'}{DONE_PARAMETER}={quote(done)}{mark}{fragment}"
    return RedirectResponse(f"{read_root_path(request)}{path}", _SEE_OTHER)


def _list_distinct(calls: Sequence[ApiCall]) -> list[ApiCall]:
    return list(dict.fromkeys(calls))
