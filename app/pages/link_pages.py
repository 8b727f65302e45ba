"""Serves the pages of links that carry a token: of invitations, password resets and grants.

The token is in the fragment (`#…`), which browsers do not send. A script, or the person, posts it as a form.
It is the only credential: there is no session cookie that another site's form could misuse (CSRF).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from app.pages.page_layout import (
    HTML_MEDIA_TYPE,
    build_page_headers,
    choose_formatter,
    read_root_path,
    render_layout,
)
from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.http.contract.html_forms import read_form
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import ANONYMOUS_BODY_MAX
from app.platform.kernel.errors import InvalidError, VigieError
from app.presentation.translation import BilingualText

_BUSY: Final = frozenset({429, 500, 503})


@dataclass(frozen=True, slots=True)
class LinkPages:
    """The pages of one kind of link.

    Attributes:
        path: The address of the page.
        template: The name of its template, which extends `link.html`.
        words: Its texts.
        faults: The texts of errors by code; "" for all others, and "busy" for those of the server.
    """

    path: str
    template: str
    words: Mapping[str, BilingualText]
    faults: Mapping[str, BilingualText]

    def show(
        self,
        request: Request,
        view: str,
        fault: VigieError | None = None,
        *,
        title: str,
        status: int = 200,
        **more: Any,  # noqa: ANN401 (whatever the template takes)
    ) -> Response:
        """Render the page. No cache may store it, because it can contain a token.

        Args:
            request: The request.
            view: Which part of the template is shown.
            fault: What did not work; None: nothing.
            title: The title.
            status: The status of the response, unless there is a fault.
            **more: Further variables of the template.
        """
        formatter = choose_formatter(request)
        message = None
        if fault is not None:
            status = fault.status
            message = self.faults.get(fault.code, self.faults["busy" if status in _BUSY else ""])
        body = render_layout(
            self.template,
            formatter,
            root=read_root_path(request),
            title=title,
            path=self.path,
            view=view,
            fault=None if message is None else formatter.translate(message),
            words={key: formatter.translate(text) for key, text in self.words.items()},
            lang=formatter.language,
            other="fr" if formatter.language == "en" else "en",
            **{"token": "", **more},
        )
        headers = build_page_headers(formatter, **{"Cache-Control": "no-store"})
        return Response(body, status, headers, media_type=HTML_MEDIA_TYPE)

    def show_entry(self, request: Request, fault: VigieError | None = None) -> Response:
        """Show the form for a link, with an error if the last attempt had one."""
        title = choose_formatter(request).translate(self.words["enter_title"])
        return self.show(request, "enter", fault, title=title)

    def show_ended(
        self, request: Request, title: BilingualText, lead: BilingualText, status: int
    ) -> Response:
        """Explain why a link does not work."""
        formatter = choose_formatter(request)
        return self.show(
            request,
            "ended",
            title=formatter.translate(title),
            lead=formatter.translate(lead),
            status=status,
        )


async def read_token_form(
    request: Request, fields: Collection[str], *, verbatim: Collection[str] = ()
) -> dict[str, str]:
    """Read the form of a link's page, with its token.

    Args:
        request: The request.
        fields: The names of its fields.
        verbatim: Those whose white space counts.
    """
    given = dict(await read_form(request, fields, most=ANONYMOUS_BODY_MAX, verbatim=verbatim))
    # REST routes scan JSON bodies for forbidden content; forms have to be scanned here.
    check_body(dict(given))
    # The whole link may have been pasted.
    given["token"] = given.get("token", "").rpartition("#")[2]
    return given


def validate_form[Shape: BaseModel](model: type[Shape], fields: Mapping[str, Any]) -> Shape:
    """Validate the fields of a form (InvalidError with the code of the first fault)."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidError("A field is invalid.", code=get_field_error_code(error.errors()[0])) from None
