"""Reads small HTML forms of Vigie's own pages, and refuses those that another website submits."""

import asyncio
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from app.platform.http.contract.strict_body import read_body
from app.platform.kernel.errors import ForbiddenError, InvalidError

_MOST_FIELDS: Final = 20
_MOST_INLINE_BYTES: Final = 65_536
"""Larger forms are parsed in a thread: 2 MB take 0.2 s, in which no other request would run."""


def refuse_foreign_form(request: Request, *, public_url: str | None = None) -> None:
    """Refuse a form that another website's page submits (CSRF).

    Browsers send `Sec-Fetch-Site` to https and to this machine, and recent ones `Origin` with each form.

    Args:
        request: The request.
        public_url: The installation's public address. If it is given, the browser has to say that the form is
            from an own page, whose referrer policy lets it do so. Without it, only a form that the browser
            says is foreign is refused.

    Raises:
        ForbiddenError: `foreign_form`.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        # `null` is the origin of pages without a referrer: own ones have it, and others can choose it.
        page = request.headers.get("origin") or request.headers.get("referer", "")
        sender = _parse_host(page)
        own = {request.headers.get("host", ""), _parse_host(public_url or "")}
        is_own = sender in own if sender else public_url is None
    else:
        is_own = site in {"same-origin", "none"}
    if not is_own:
        raise ForbiddenError("Send the form from this installation's own page.", code="foreign_form")


def _parse_host(url: str) -> str:
    """Return the host of a URL with its port; empty for a URL without one, such as `null`."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        # Text that no browser sends, which must not pass as `null`.
        return url


async def read_form_pairs(
    request: Request, *, most: int, most_fields: int, public_url: str | None = None
) -> list[tuple[str, str]]:
    """Read the names and values of a form, in its order.

    Args:
        request: The request.
        most: Maximum bytes of the body.
        most_fields: Maximum number of fields.
        public_url: As in `refuse_foreign_form`.

    Raises:
        ForbiddenError: `foreign_form`: another site's page sent it.
        InvalidError: `invalid_form`: it cannot be parsed.
        UnreadableBodyError: It is too large, or too slow.
    """
    refuse_foreign_form(request, public_url=public_url)
    body = await read_body(request, most=most)
    if len(body) > _MOST_INLINE_BYTES:
        return await asyncio.to_thread(_parse_form, body, most_fields)
    return _parse_form(body, most_fields)


def _parse_form(body: bytes, most_fields: int) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=most_fields, errors="strict")
    except (ValueError, UnicodeError):
        raise InvalidError(
            "The form cannot be read. Reload the page and send it again.", code="invalid_form"
        ) from None
    # Browsers send CRLF; texts are stored with LF.
    return [(name, value.replace("\r\n", "\n")) for name, value in pairs]


async def read_form(
    request: Request, names: Collection[str], *, most: int, verbatim: Collection[str] = ()
) -> dict[str, str]:
    """Read the named fields of a form, without surrounding spaces.

    Args:
        request: The request.
        names: The fields of the form; others are ignored.
        most: Maximum bytes of the body.
        verbatim: Fields whose spaces are preserved, such as passwords.

    Raises:
        ForbiddenError, InvalidError, UnreadableBodyError: As `read_form_pairs`.
    """
    pairs = await read_form_pairs(request, most=most, most_fields=_MOST_FIELDS)
    return {name: value if name in verbatim else value.strip() for name, value in pairs if name in names}
