"""Translates the English texts of the API's problems for the console. Pure, but for reading the catalogue.

Programs read the same `detail` in every language; people read it in theirs. The French catalogue has the
English texts as templates under the context `problem`, such as `Wait {wait_s} s.`. A text is matched with
them, and the French text gets the same values. Values that are words of a text themselves, such as a noun or
a reason, are under `problem part`. A text that no template fits stays English, marked as such.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import Final, NamedTuple, Self

from app.presentation.languages import Language
from app.presentation.translation import load_french
from app.presentation.typography import COLONS, NBSP, THIN_NBSP, join_clauses, typeset_text

CONTEXT: Final = "problem"
"""`msgctxt` of the texts of problems."""
PART_CONTEXT: Final = "problem part"
"""`msgctxt` of words and clauses that problems contain."""
_LONGEST: Final = 2_000
_DEEPEST: Final = 4
_LISTED: Final = ((", ", ", "), ("; ", f"{THIN_NBSP}; "))
_ITEM: Final = r"'[^']*'|`[^`]*`"
_QUOTED_LIST: Final = re.compile(rf"(?:{_ITEM})(?:(?:, | or | and )(?:{_ITEM}))*")
_NAMES: Final = re.compile(r"[a-z0-9_.]+(?:(?:, | or | and )[a-z0-9_.]+)+")
_ITEM_OR_JOINT: Final = re.compile(rf"({_ITEM})|( or )|( and )")


class ProblemText(NamedTuple):
    """A part of a problem, in its language."""

    text: str
    language: Language


def translate_problem(
    detail: str, faults: Sequence[tuple[str, str]], language: Language
) -> Sequence[ProblemText]:
    """Translate the `detail` of a problem; parts without a translation stay English.

    Args:
        detail: The text of the problem.
        faults: Field and text of its faults. The API joins them to the detail if they are all it has to say.
        language: The language of the page.
    """
    if language == "en":
        return [ProblemText(detail, "en")]
    fields: dict[str, list[str]] = {}
    for name, text in faults:
        fields.setdefault(text, []).append(name)
    joined = "; ".join(f"{', '.join(names)}: {text}" for text, names in fields.items())
    more = re.fullmatch(r"; and ([0-9]+) more", detail.removeprefix(joined))
    if not fields or not detail.startswith(joined) or (detail != joined and more is None):
        return [translate_problem_text(detail, language)]
    parts: list[ProblemText] = []
    for text, names in fields.items():
        before = join_clauses(["", ""], language) if parts else ""
        parts.append(ProblemText(f"{before}{', '.join(names)}{COLONS[language]}", language))
        parts.append(translate_problem_text(text, language))
    if more is not None:
        parts.append(ProblemText(join_clauses(["", f"et {more[1]} de plus"], language), language))
    return parts


def translate_problem_text(english: str, language: Language) -> ProblemText:
    """Translate one text of a problem or of a fault; it stays English if the catalogue lacks it."""
    if language == "en" or len(english) > _LONGEST:
        return ProblemText(english, "en")
    french = _translate(english, (CONTEXT,), 0)
    return ProblemText(english, "en") if french is None else ProblemText(french, language)


@dataclass(frozen=True, slots=True)
class _Template:
    """A text with placeholders.

    Attributes:
        pattern: Matches English texts that were made from it; one group for each placeholder.
        names: The placeholders in their English order.
        numbers: Those that are numbers, which have a format in the catalogue, such as `{most:,}`.
        french: The French template.
        literals: The number of characters outside placeholders.
    """

    pattern: re.Pattern[str]
    names: Sequence[str]
    numbers: frozenset[str]
    french: str
    literals: int

    @classmethod
    def of(cls, english: str, french: str) -> Self:
        """Compile an entry of the catalogue.

        Each placeholder ends at the first occurrence of the text behind it. Groups are atomic, so that the
        time of a search is linear in the length of the text.
        """
        literals, names, numbers = _split_template(english)
        first, *between, last = literals
        groups = "".join(f"(?>(.*?){re.escape(literal)})" for literal in between)
        pattern = f"{re.escape(first)}{groups}(.*){re.escape(last)}"
        return cls(re.compile(pattern, re.DOTALL), names, numbers, french, sum(map(len, literals)))

    def fill(self, english: str, depth: int) -> str | None:
        """Return the French text with the values of an English one; None: it was not made from this."""
        match = self.pattern.fullmatch(english)
        if match is None:
            return None
        values = {
            name: _write_number(value) if name in self.numbers else _write_value(value, depth)
            for name, value in zip(self.names, match.groups(), strict=True)
        }
        return self.french.format(**values)


@dataclass(frozen=True, slots=True)
class _Templates:
    """The entries of a context.

    Attributes:
        exact: Texts without placeholders.
        by_word: Templates by their first word.
        others: Templates that begin with a placeholder.
    """

    exact: Mapping[str, str]
    by_word: Mapping[str, Sequence[_Template]]
    others: Sequence[_Template]

    def candidates(self, english: str) -> Iterator[_Template]:
        """Yield the templates that may fit a text, the most specific ones first."""
        yield from self.by_word.get(english.partition(" ")[0], ())
        yield from self.others


@cache
def _load_templates(context: str) -> _Templates:
    exact: dict[str, str] = {}
    by_word: dict[str, list[_Template]] = defaultdict(list)
    others: list[_Template] = []
    for (found, english), french in load_french().items():
        if found != context:
            continue
        literals, names, _ = _split_template(english)
        typeset = typeset_text(french, "fr")
        if names:
            word, space, _ = literals[0].partition(" ")
            (by_word[word] if space else others).append(_Template.of(english, typeset))
        else:
            exact[literals[0]] = typeset.format()
    for each in (*by_word.values(), others):
        each.sort(key=lambda template: template.literals, reverse=True)
    return _Templates(exact, by_word, others)


def _split_template(template: str) -> tuple[Sequence[str], Sequence[str], frozenset[str]]:
    """Return the texts around the placeholders, the placeholders, and those that are numbers."""
    literals, names, numbers = [""], [], set()
    for literal, name, form, _ in Formatter().parse(template):
        literals[-1] += literal
        if name is not None:
            literals.append("")
            names.append(name)
            if form:
                numbers.add(name)
    return literals, names, frozenset(numbers)


def _translate(english: str, contexts: Sequence[str], depth: int) -> str | None:
    for context in contexts:
        templates = _load_templates(context)
        if english in templates.exact:
            return templates.exact[english]
        for template in templates.candidates(english):
            french = template.fill(english, depth)
            if french is not None:
                return french
    return None


def _write_value(value: str, depth: int) -> str:
    """Return a value as a French text shows it: translated if it is a known part, with French quotes."""
    if _QUOTED_LIST.fullmatch(value):
        return _ITEM_OR_JOINT.sub(_write_item, value)
    found = _find_part(value, depth + 1) if depth < _DEEPEST else None
    if found is None and _NAMES.fullmatch(value):
        return _ITEM_OR_JOINT.sub(_write_item, value)
    return value if found is None else found


def _find_part(value: str, depth: int) -> str | None:
    found = _translate(value, (PART_CONTEXT, CONTEXT), depth)
    if found is not None:
        return found
    for mark, joint in _LISTED:
        parts = [_find_part(each, depth) for each in value.split(mark)] if mark in value else []
        if parts and None not in parts:
            return joint.join(filter(None, parts))
    if value.endswith("."):
        clause = _find_part(value[:-1], depth)
        return None if clause is None else f"{clause}."
    # A number and its noun, or an address and what it is.
    head, space, rest = value.partition(" ")
    known = _translate(rest, (PART_CONTEXT,), depth) if space else None
    return None if known is None else f"{head} {known}"


def _write_item(match: re.Match[str]) -> str:
    item, either, _ = match.groups()
    if item is None:
        return " ou " if either else " et "
    return f"«{NBSP}{item[1:-1]}{NBSP}»" if item.startswith("'") else item


def _write_number(value: str) -> str:
    return value.replace(",", THIN_NBSP).replace(".", ",")
