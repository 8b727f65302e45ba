"""Reads small HTML forms of Vigie's own pages, and refuses those that another website submits."""

from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from app.platform.http.contract.strict_body import read_body
from app.platform.kernel.errors import ForbiddenError, InvalidError

_MOST_FIELDS: Final = 20


async def read_form(
    request: Request, names: Collection[str], *, most: int, verbatim: Collection[str] = ()
) -> dict[str, str]:
    """Read the fields of a form, without surrounding spaces.

    Args:
        request: The request.
        names: The fields of the form; others are ignored.
        most: Maximum bytes of the body.
        verbatim: Fields whose spaces are preserved, such as passwords.

    Raises:
        ForbiddenError: `foreign_form`: another site's page sent it.
        InvalidError: `invalid_form`: it cannot be parsed.
        UnreadableBodyError: It is too large, or too slow.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForbiddenError("Send the form from this installation's own page.", code="foreign_form")
    body = await read_body(request, most=most)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except (ValueError, UnicodeError):
        raise InvalidError(
            "The form cannot be read. Reload the page and send it again.", code="invalid_form"
        ) from None
    # Browsers send CRLF; texts are stored with LF.
    return {
        name: value if name in verbatim else value.replace("\r\n", "\n").strip()
        for name, value in pairs
        if name in names
    }
