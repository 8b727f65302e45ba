"""Writes the problems of the API into pages: in the page's language, else in English, marked as such."""

from collections.abc import Callable, Iterator

from markupsafe import Markup, escape

from app.console.framework.api_calls import ApiProblemError, FieldFault
from app.console.framework.problem_translation import (
    ProblemText,
    translate_problem,
    translate_problem_text,
)
from app.platform.kernel.errors import VigieError
from app.presentation.languages import Language
from app.presentation.typography import COLONS

type Explainer = Callable[[VigieError | FieldFault | str], Markup]
"""`explain` of the templates: the HTML of an error, of a fault with its field, or of a single text."""


def make_explainer(language: Language) -> Explainer:
    """Make `explain` for the templates of a page.

    Args:
        language: The language of the page.
    """

    def explain(problem: VigieError | FieldFault | str) -> Markup:
        return Markup("").join(_write(part, language) for part in _translate(problem, language))

    return explain


def _translate(problem: VigieError | FieldFault | str, language: Language) -> Iterator[ProblemText]:
    if isinstance(problem, ApiProblemError) and problem.problem.get("language") == language:
        # A page has written it.
        yield ProblemText(problem.detail, language)
    elif isinstance(problem, VigieError):
        yield from translate_problem(problem.detail, _list_faults(problem), language)
    elif isinstance(problem, FieldFault):
        yield ProblemText(f"{problem.field}{COLONS[language]}", language)
        yield translate_problem_text(problem.detail, language)
    else:
        yield translate_problem_text(problem, language)


def _list_faults(problem: VigieError) -> list[tuple[str, str]]:
    stated = problem.problem if isinstance(problem, ApiProblemError) else problem.extra
    return [(str(each.get("field", "")), str(each.get("detail", ""))) for each in stated.get("errors") or []]


def _write(part: ProblemText, language: Language) -> Markup:
    if part.language == language:
        return escape(part.text)
    return Markup('<span lang="{}">{}</span>').format(part.language, part.text)
