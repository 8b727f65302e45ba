"""Prepares the forms that ask for a second factor, and reads what a person gave. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from app.console.framework.form_fields import FormFields

FACTORS: Final = ("totp", "passkey", "recovery_code", "password")
"""Fields of a form that proves who a person is; a form has several, and one is filled in."""


@dataclass(frozen=True, slots=True)
class FactorQuestion:
    """What the API asks for: a challenge, and the ways to answer it.

    Attributes:
        challenge: The challenge to send with the answer.
        methods: The ways that the person has, the most convenient first.
        options: The WebAuthn options of a passkey; None: no passkey.
    """

    challenge: str
    methods: tuple[str, ...]
    options: Mapping[str, Any] | None = None

    @classmethod
    def of_problem(cls, problem: Mapping[str, Any]) -> Self:
        """Read the members of `second_factor_required` or `reauthentication_required`."""
        methods = tuple(str(each) for each in problem.get("methods") or ())
        return cls(str(problem.get("challenge", "")), methods, problem.get("options"))

    @classmethod
    def of_form(cls, fields: FormFields) -> Self:
        """Read the question again from the form that was sent, to show it once more."""
        known = tuple(name for name in FACTORS if name in fields.one("methods").split(" "))
        return cls(fields.one("challenge"), known, parse_object(fields.one("options")))

    @property
    def stored_options(self) -> str:
        """The options as the text of a form field."""
        return "" if self.options is None else json.dumps(self.options)


def parse_object(text: str) -> dict[str, Any] | None:
    """Parse a JSON object that a script of the page sent; None for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_given_factor(fields: FormFields) -> dict[str, Any]:
    """Return the factors of a form that are filled in, as the API takes them."""
    given: dict[str, Any] = {}
    for name in FACTORS:
        text = fields.verbatim(name) if name == "password" else fields.one(name)
        if name == "passkey" and text:
            # Text that is no object is sent as it is: the API refuses it.
            given[name] = parse_object(text) or {}
        elif text:
            given[name] = text
    return given
