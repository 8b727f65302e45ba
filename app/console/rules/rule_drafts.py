"""Holds a rule while it is built: as fields of a sentence, or as JSON that the sentence cannot express."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.form_fields import FormFields
from app.console.rules.rule_faults import place_faults
from app.console.rules.rule_form import LEVELS, fields_to_rule, form_kind, level_numbers, rule_to_fields
from app.console.rules.rule_normal_form import body_of
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import RejectedError
from app.platform.kernel.strict_json import parse_strict_json
from app.presentation.languages import Language

JSON_MODE: Final = "json"
SENTENCE_MODE: Final = "sentence"
_DEPTH: Final = 32
_NEW: Final[Mapping[str, Sequence[str]]] = {
    "kind": ["value"],
    "operator": [">"],
    "side": ["outside"],
    "function": ["mean"],
    "for_1_n": ["10"],
    "for_1_unit": ["min"],
    "window_n": ["1"],
    "window_unit": ["h"],
    "no_data_1_n": ["15"],
    "no_data_1_unit": ["min"],
    "severity_1": ["warning"],
    "where": ["all"],
    "state": ["live"],
}
"""What a new rule begins with."""


class InvalidRuleJsonError(InvalidError):
    """The text is not a JSON object."""

    code = "invalid_json"


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule that is being built.

    Attributes:
        fields: What was typed.
        mode: `sentence` or `json`.
        problem: Why the API refused it.
        is_inexpressible: Whether a switch to the sentence was refused, because it would lose something.
    """

    fields: FormFields = field(default_factory=FormFields)
    mode: str = SENTENCE_MODE
    problem: ApiProblemError | InvalidRuleJsonError | None = None
    is_inexpressible: bool = False

    @classmethod
    def of_form(
        cls, fields: FormFields, problem: ApiProblemError | InvalidRuleJsonError | None = None
    ) -> "RuleDraft":
        """Return the draft that a form contains."""
        mode = JSON_MODE if fields.one("mode") == JSON_MODE else SENTENCE_MODE
        return cls(fields, mode, problem)

    @classmethod
    def of_rule(cls, rule: Mapping[str, Any], language: Language) -> "RuleDraft":
        """Return the draft of a rule: a sentence if it can be one, else JSON."""
        fields = rule_to_fields(rule, language=language)
        return cls._as_json(rule) if fields is None else cls(fields)

    @classmethod
    def new(cls, **given: str) -> "RuleDraft":
        """Return the draft of a new rule."""
        return cls(FormFields({**_NEW, **{name: [value] for name, value in given.items() if value}}))

    @classmethod
    def _as_json(cls, rule: Mapping[str, Any], *, inexpressible: bool = False) -> "RuleDraft":
        text = json.dumps(dict(rule), indent=2, ensure_ascii=False)
        return cls(FormFields({"json": [text], "mode": [JSON_MODE]}), JSON_MODE, None, inexpressible)

    @property
    def kind(self) -> str:
        """The kind of condition of the sentence."""
        return form_kind(self.fields)

    @property
    def site_id(self) -> str:
        """The site of the rule; empty if none is chosen."""
        if self.mode == SENTENCE_MODE:
            return self.fields.one("site")
        try:
            return str(self.rule().get("site_id", ""))
        except InvalidRuleJsonError:
            return ""

    def rule(self) -> dict[str, Any]:
        """Return the rule as the API takes it.

        Raises:
            InvalidRuleJsonError: The text is not a JSON object.
        """
        if self.mode == SENTENCE_MODE:
            return fields_to_rule(self.fields)
        try:
            found = parse_strict_json(self.fields.verbatim(JSON_MODE).encode(), max_depth=_DEPTH)
        except RejectedError as error:
            raise InvalidRuleJsonError(f"The text is not valid JSON: {error.detail}.") from None
        if not isinstance(found, dict):
            raise InvalidRuleJsonError("The text must be a JSON object: { … }.")
        return found

    def to_json(self) -> "RuleDraft":
        """Return the draft as JSON."""
        return self if self.mode == JSON_MODE else self._as_json(body_of(self.rule()))

    def to_sentence(self, language: Language) -> "RuleDraft":
        """Return the draft as a sentence; as it is if that would lose something.

        Raises:
            InvalidRuleJsonError: The text is not a JSON object.
        """
        if self.mode == SENTENCE_MODE:
            return self
        fields = rule_to_fields(self.rule(), language=language)
        if fields is None:
            return RuleDraft(self.fields, JSON_MODE, None, is_inexpressible=True)
        return RuleDraft(fields)

    def faults(self, explain: Callable[[str], str]) -> tuple[dict[str, str], list[str]]:
        """Return the faults by field of the form, and those without a field.

        Args:
            explain: Translates the text of a fault.
        """
        if self.problem is None:
            return {}, []
        if isinstance(self.problem, InvalidRuleJsonError):
            return {JSON_MODE: explain(self.problem.detail)}, []
        faults = [each._replace(detail=explain(each.detail)) for each in self.problem.faults]
        if self.mode == JSON_MODE:
            listed = [f"{each.field}: {each.detail}" for each in faults]
            return {}, listed or [explain(self.problem.detail)]
        placed, others = place_faults(faults, kind=self.kind, numbers=level_numbers(self.fields))
        return placed, others if faults else [explain(self.problem.detail)]

    def used_levels(self) -> int:
        """Return how many levels the form has typed values for."""
        return max(level_numbers(self.fields)) if self.mode == SENTENCE_MODE else LEVELS
