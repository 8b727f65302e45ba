"""Defines the JSON of search results."""

from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.platform.db.search_terms import MatchQuality

type SearchKind = Literal["site", "box", "alert", "rule", "incident"]

KINDS: Final[dict[SearchKind, str]] = {
    "site": "sites:read",
    "box": "sites:read",
    "alert": "alerts:read",
    "rule": "rules:read",
    "incident": "incidents:read",
}
"""The kinds in the order of equal matches, with the scope that reading them requires."""


class SearchResult(BaseModel):
    """A site, box, alert, rule or incident that matches."""

    kind: SearchKind
    id: str = Field(description="The id of the resource", examples=["box-0001"])
    title: str = Field(
        description="Its name; for an alert and an incident, the sentence that describes it",
        examples=["North crossing"],
    )
    title_fr: str = Field(description="`title` in French. Names are the same", examples=["North crossing"])
    subtitle: str | None = Field(
        description="Where it is: the address of a site, id and site of a box, rule and site of an alert, "
        "the site of a rule or an incident",
        examples=["box-0001 · Rue de Metz"],
    )
    site_id: UUID = Field(description="Its site; of a site, its own id")
    state: str | None = Field(
        description="`firing` or `resolved` for an alert; `open`, `confirmed` or `dismissed` for an "
        "incident; null for other kinds",
        examples=[None],
    )
    match: MatchQuality = Field(
        description="`exact`: a whole name or id. `prefix`: a name or id begins with the query. `word`: each "
        "word of the query begins a word",
        examples=["prefix"],
    )
    url: str = Field(
        description="The resource in this API, relative to its address", examples=["/v1/boxes/box-0001"]
    )


class OmittedKind(BaseModel):
    """A kind that was not searched."""

    kind: SearchKind
    scope: str = Field(description="The scope that you lack", examples=["incidents:read"])


class SearchOut(BaseModel):
    """The results of a search."""

    data: list[SearchResult] = Field(description="The best matches first, then by kind")
    more: list[SearchKind] = Field(
        description="Kinds with more matches than `limit`: search for more words, or use the list of the kind"
    )
    omitted: list[OmittedKind] = Field(description="Kinds that you may not read, and that were not searched")
