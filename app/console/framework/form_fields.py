"""Reads the forms of the console, and keeps what was typed for the page that shows an error."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from fastapi import Request

from app.console.framework.api_calls import ApiProblemError, FieldFault
from app.console.framework.console_visit import ConsoleVisit, parse_console_page
from app.platform.http.contract.html_forms import read_form_pairs
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError
from app.platform.runtime.stored_settings import InstallationSettings
from app.presentation.languages import Language
from app.presentation.number_formats import parse_number

FORM_TOKEN: Final = "_token"  # noqa: S105 (the name of a field)
"""The field of the token against forms of other websites."""
PAGE_FIELD: Final = "_page"
"""The field with the address of the form's page."""
_MAX_BYTES: Final = 2_097_152
_MAX_FIELDS: Final = 2_000
_ANONYMOUS_MAX_BYTES: Final = 65_536
"""Anybody can send a form without a sign-in, and pages need no permit."""


@dataclass(frozen=True, slots=True)
class FormFields:
    """The fields of a form.

    Attributes:
        values: The values of each name, in the order of the form.
        language: The language in which its numbers are written.
    """

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    language: Language = "en"

    def one(self, name: str, default: str = "") -> str:
        """Return the value of a field without surrounding spaces; the last one of several."""
        found = self.values.get(name)
        return found[-1].strip() if found else default

    def verbatim(self, name: str) -> str:
        """Return the value of a field with its spaces, such as a password."""
        found = self.values.get(name)
        return found[-1] if found else ""

    def many(self, name: str) -> list[str]:
        """Return all values of a field that are not empty."""
        return [value.strip() for value in self.values.get(name, ()) if value.strip()]

    def optional(self, name: str) -> str | None:
        """Return the value of a field; None if it is empty."""
        return self.one(name) or None

    def number(self, name: str) -> float | str | None:
        """Return a field as a number, as the language writes it; None if it is empty.

        Text that is no number is returned as it is, so that the API refuses it with the name of its field.
        """
        text = self.one(name)
        if not text:
            return None
        value = parse_number(text, self.language)
        return text if value is None else value

    @property
    def page(self) -> str:
        """The address of the page that has the form."""
        return parse_console_page(self.one(PAGE_FIELD))

    def has(self, name: str) -> bool:
        """Return whether a field was sent, such as a checked box or the pressed button."""
        return name in self.values


@dataclass(frozen=True, slots=True)
class FormState:
    """A form as its page shows it.

    Attributes:
        fields: What was typed.
        problem: Why the API refused it; None: it was not refused.
    """

    fields: FormFields = field(default_factory=FormFields)
    problem: ApiProblemError | None = None

    def value(self, name: str, stored: object = "") -> str:
        """Return what a field contains: what was typed, else what is stored."""
        if self.fields.has(name):
            return self.fields.verbatim(name)
        return "" if stored is None else str(stored)

    def fault(self, *paths: str) -> str:
        """Return the fault of a field, by the names that the API has for it; empty if it has none."""
        faults = self.problem.faults if self.problem else ()
        return next((each.detail for each in faults if each.field in paths), "")

    def other_faults(self, *shown: str) -> list[FieldFault]:
        """Return the faults whose fields the form does not show."""
        faults = self.problem.faults if self.problem else ()
        return [each for each in faults if each.field not in shown]


async def read_console_form(visit: ConsoleVisit) -> FormFields:
    """Read the form of a page.

    Raises:
        ForbiddenError: `foreign_form`: another website's page sent it, or one of an earlier session or of
            another organisation.
        InvalidError: `invalid_form`: it cannot be parsed.
        UnreadableBodyError: It is too large, or too slow.
    """
    fields = replace(await _read_form(visit.request, most=_MAX_BYTES), language=visit.language)
    if not hmac.compare_digest(fields.one(FORM_TOKEN).encode(), visit.form_token.encode()):
        raise ForbiddenError(
            "This form is from an earlier sign-in, or from a page of another organisation. Reload "
            "the page and send it again.",
            code="foreign_form",
        )
    return fields


async def read_anonymous_form(request: Request) -> FormFields:
    """Read a form of a page without sign-in, which carries no token. A second call returns the same.

    Another website could otherwise sign a browser in to an account of its own (login CSRF).

    Raises:
        ForbiddenError, InvalidError, UnreadableBodyError: As `read_form_pairs`.
    """
    return await _read_form(request, most=_ANONYMOUS_MAX_BYTES)


async def _read_form(request: Request, *, most: int) -> FormFields:
    already: FormFields | None = getattr(request.state, "form_fields", None)
    if already is not None:
        # The session ended after the form was read: its page is shown again after the sign-in.
        return already
    values: dict[str, list[str]] = {}
    public_url = get_resource(request.app, InstallationSettings).base_url
    for name, value in await read_form_pairs(
        request, most=most, most_fields=_MAX_FIELDS, public_url=public_url
    ):
        values.setdefault(name, []).append(value)
    request.state.form_fields = fields = FormFields(values)
    if fields.has(PAGE_FIELD):
        request.state.page_address = fields.page
    return fields
