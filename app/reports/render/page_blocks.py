"""Defines the blocks of a report page: sections, tables, tiles and strips of coloured fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.reports.render.charts import ReportChart


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell of a table.

    Attributes:
        text: the text.
        small: smaller text below it.
        number: whether it is a number, aligned to the right.
        header: whether it is the header of its row.
        swatch: a colour beside the text, `#RRGGBB`.
        strong: whether it is emphasised.
    """

    text: str
    small: str = ""
    number: bool = False
    header: bool = False
    swatch: str | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table with its caption. `note` is shown below it; `looks` is a class of the style sheet."""

    caption: str
    head: list[TableCell]
    rows: list[list[TableCell]]
    note: str = ""
    looks: str = ""


@dataclass(frozen=True, slots=True)
class StripField:
    """A field of a strip: position, background colour, text colour and text."""

    x: float
    fill: str
    ink: str
    label: str


@dataclass(frozen=True, slots=True)
class StripRow:
    """The fields of a box, or of the whole site."""

    y: float
    label: str
    fields: list[StripField]


@dataclass(frozen=True, slots=True)
class IndexStrip:
    """A strip of coloured fields per hour or day. `legend` has the colour and the name of each class."""

    key: str
    title: str
    alt_text: str
    width: float
    height: float
    side: float
    tall: float
    heads: list[tuple[float, str]]
    rows: list[StripRow]
    legend: list[tuple[str, str]]
    table: ReportTable


@dataclass(frozen=True, slots=True)
class KeyFigureTile:
    """A key figure at the top of the page."""

    label: str
    value: str
    more: str
    swatch: str | None = None


@dataclass(slots=True)
class ReportSection:
    """A section of the page. The fields are in the order in which the template shows them."""

    key: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    strips: list[IndexStrip] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    charts: list["ReportChart"] = field(default_factory=list)
    terms: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: Sequence[str] = ()
