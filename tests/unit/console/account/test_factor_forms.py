"""What a form asks for, and what a person gave."""

import pytest

from app.console.account.factor_forms import FactorQuestion, parse_object, read_given_factor
from app.console.framework.form_fields import FormFields


def test_a_question_survives_its_form() -> None:
    problem = {"challenge": "c", "methods": ["totp", "passkey"], "options": {"rpId": "x"}, "detail": "…"}
    question = FactorQuestion.of_problem(problem)
    fields = {
        "challenge": [question.challenge],
        "methods": [" ".join(question.methods)],
        "options": [question.stored_options],
    }
    again = FactorQuestion.of_form(FormFields(fields))
    assert (again.challenge, set(again.methods), again.options) == ("c", {"totp", "passkey"}, {"rpId": "x"})


def test_a_question_without_passkeys_has_no_options() -> None:
    question = FactorQuestion.of_problem({"challenge": "c", "methods": ["totp"]})
    assert (question.options, question.stored_options) == (None, "")


def test_a_forged_question_has_known_methods_only() -> None:
    fields = FormFields({"methods": ["totp <script> totp"], "options": ["[1]"]})
    assert FactorQuestion.of_form(fields) == FactorQuestion("", ("totp",), None)


@pytest.mark.parametrize(("text", "value"), [("", None), ("{", None), ("[]", None), ('{"a":1}', {"a": 1})])
def test_only_objects_are_parsed(text: str, value: object) -> None:
    assert parse_object(text) == value


def test_given_factors_are_sent_as_they_were_typed() -> None:
    fields = {"totp": [" 123 456 "], "password": [" with spaces "], "recovery_code": [""], "passkey": ["no"]}
    given = read_given_factor(FormFields(fields))
    assert given == {"totp": "123 456", "password": " with spaces ", "passkey": {}}
