"""What a page is made of: headings, paragraphs, tables, tiles, strips of coloured fields. Shapes alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.reports.render.charts import ReportChart


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell of a table.

    Attributes:
        text: what stands in it.
        small: what stands below, smaller.
        number: it is a number, set to the right.
        header: it names its row.
        swatch: a colour beside the text, `#RRGGBB`.
        strong: it deserves attention.
    """

    text: str
    small: str = ""
    number: bool = False
    header: bool = False
    swatch: str | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table with its caption; `note` stands below; `looks` is a class of the style sheet."""

    caption: str
    head: list[TableCell]
    rows: list[list[TableCell]]
    note: str = ""
    looks: str = ""


@dataclass(frozen=True, slots=True)
class StripField:
    """A field of a strip: its colour, the colour of its text, what it says."""

    x: float
    fill: str
    ink: str
    label: str


@dataclass(frozen=True, slots=True)
class StripRow:
    """The fields of a box, or of the site as a whole."""

    y: float
    label: str
    fields: list[StripField]


@dataclass(frozen=True, slots=True)
class IndexStrip:
    """Fields of colour, hour by hour or day by day; `legend` has a colour and its class's name."""

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
    """A figure that is seen first."""

    label: str
    value: str
    more: str
    swatch: str | None = None


@dataclass(slots=True)
class ReportSection:
    """A section of the page, in the order in which its template sets the parts."""

    key: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    strips: list[IndexStrip] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    charts: list["ReportChart"] = field(default_factory=list)
    terms: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: Sequence[str] = ()
