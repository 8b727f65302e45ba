"""Matches the words of a search with `search_text` columns, and ranks what they match.

A `search_text` holds names that `fold_search_text` (migration 0042) has folded: in lower case, without
accents and punctuation, each word after a space and each name after `| `. The database folds the query with
the same function.

Conditions and ranks have named parameters, so that a statement is compiled once for all queries:

    statement = select(Site.id).where(match_terms(Site.search_text, Site.id))
    statement = statement.order_by(rank_terms(Site.search_text, Site.id))
    terms = await read_search_terms(reader, "Métz nord")
    rows = await reader.fetch(compile_statement(statement), terms.values())
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    SQLColumnExpression,
    Text,
    Uuid,
    all_,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)

from app.platform.db.tenant_reader import TenantReader, compile_statement

type MatchQuality = Literal["exact", "prefix", "word"]

MATCH_QUALITIES: Final[tuple[MatchQuality, ...]] = ("exact", "prefix", "word")
"""The meanings of `rank_terms`: a whole name or id, its beginning, or the beginnings of words."""

_EXACT, _PREFIX, _WORD = range(3)
_MOST_WORDS: Final = 10
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{4,32}")
_ID_DIGITS: Final = 32
_NO_IDS: Final = UUID(int=2**128 - 1), UUID(int=0)

_words = bindparam("search_words", type_=ARRAY(Text))
_whole = bindparam("search_whole", type_=Text)
_beginning = bindparam("search_beginning", type_=Text)
_first_id = bindparam("search_first_id", type_=Uuid)
_last_id = bindparam("search_last_id", type_=Uuid)


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """A folded query.

    Attributes:
        words: its words; each must begin a word of a text.
        ids: the first and the last UUID that begin with the query. The first is greater if it begins none.
    """

    words: tuple[str, ...]
    ids: tuple[UUID, UUID] = _NO_IDS

    @property
    def is_empty(self) -> bool:
        """Whether it can match nothing: it had no letters and digits."""
        return not self.words

    def values(self) -> dict[str, Any]:
        """Return the values of the parameters of `match_terms`, `match_id` and `rank_terms`."""
        # Words have letters and digits only, so nothing in them is a wildcard.
        phrase = " ".join(self.words)
        return {
            "search_words": [f"% {word}%" for word in self.words],
            "search_whole": f"%| {phrase} |%",
            "search_beginning": f"%| {phrase}%",
            "search_first_id": self.ids[0],
            "search_last_id": self.ids[1],
        }


def match_terms(
    searched: SQLColumnExpression[str], identifier: SQLColumnExpression[UUID] | None = None
) -> ColumnElement[bool]:
    """Make the condition that a folded text, or a UUID, matches the terms."""
    named = searched.op("LIKE", is_comparison=True)(all_(_words))
    return named if identifier is None else or_(named, match_id(identifier))


def match_id(identifier: SQLColumnExpression[UUID]) -> ColumnElement[bool]:
    """Make the condition that a UUID begins with the query."""
    # Comparisons, for an index: under row-level security an index serves leakproof operators only.
    return and_(identifier >= _first_id, identifier <= _last_id)


def rank_terms(
    searched: SQLColumnExpression[str], identifier: SQLColumnExpression[UUID] | None = None
) -> ColumnElement[int]:
    """Make SQL of the position in `MATCH_QUALITIES` of the best match, of rows that `match_terms` selects."""
    # A name ends where the next one begins, or with the text.
    found: list[tuple[ColumnElement[bool], int]] = [((searched + "|").like(_whole), _EXACT)]
    if identifier is not None:
        whole_id = and_(_first_id == _last_id, identifier == _first_id)
        found += [(whole_id, _EXACT), (match_id(identifier), _PREFIX)]
    found.append((searched.like(_beginning), _PREFIX))
    return case(*found, else_=_WORD)


def parse_id_prefix(query: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last UUID that begin with a query of 4 to 32 hexadecimal digits."""
    digits = query.strip().lower().replace("-", "")
    if _ID_PREFIX.fullmatch(digits) is None:
        return None
    return UUID(digits.ljust(_ID_DIGITS, "0")), UUID(digits.ljust(_ID_DIGITS, "f"))


_FOLD: Final = compile_statement(select(func.fold_search_text(bindparam("query", type_=ARRAY(Text)))))


async def read_search_terms(reader: TenantReader, query: str) -> SearchTerms:
    """Fold a query as the database folds names."""
    rows = await reader.fetch(_FOLD, {"query": [query]})
    words = str(rows[0][0]).removeprefix("|").split()
    return SearchTerms(tuple(words[:_MOST_WORDS]), parse_id_prefix(query) or _NO_IDS)
