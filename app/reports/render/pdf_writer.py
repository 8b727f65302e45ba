"""Lays out a report as a PDF: A4, tagged for screen readers (PDF/UA-1), without loading anything. Pure.

A nearly empty last page is avoided: a slightly smaller layout pulls its content to the page before, or the
section before moves to it.
"""

import logging
from time import process_time
from typing import Any, Final

from weasyprint import CSS, HTML
from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from app.reports.render.report_page import RenderedReport

# WeasyPrint warns about the rules for screens in the style sheet, which is no error.
logging.getLogger("weasyprint").setLevel(logging.ERROR)


class DenyAllFetcher(URLFetcher):  # type: ignore[misc] # it has no types
    """Fetches no address: neither from the network nor from the machine's own files."""

    def fetch(self, url: str, headers: object = None) -> URLFetcherResponse:  # noqa: ARG002 (WeasyPrint's own shape)
        """Refuse every address (FatalURLFetchingError): a report is self-contained."""
        raise FatalURLFetchingError(f"a report fetches nothing, not {url[:64]!r}")


_VARIANT: Final = "pdf/ua-1"
MIN_LAST_PAGE_FILL: Final = 0.4
"""A last page that is filled less than this counts as nearly empty (0 to 1)."""
_END: Final = "end"
# Tried in this order. Text is at most 6% smaller, so that the smallest text stays readable. `!important` in a
# user style sheet overrides the style sheet of the page.
_LAYOUTS: Final = (
    "@page { margin: 13mm 15mm 15mm !important } html { font-size: 8.4pt !important }",
    "@page { margin: 12mm 15mm 14mm !important } html { font-size: 8.1pt !important }",
    ".methods { break-before: page !important }",
    ".reading { break-before: page !important }",
)
# The child has 35 s of CPU time (`CPU_LIMIT_S`): the largest reports are laid out once or twice.
_SECONDS: Final = 10.0


def render_pdf(page: RenderedReport) -> bytes:
    """Lay out a page as a PDF.

    Raises:
        FatalURLFetchingError: The page references an address.
    """
    html = HTML(string=page.html, url_fetcher=DenyAllFetcher())
    began = process_time()
    best = html.render(pdf_variant=_VARIANT)
    most = _filled(best)
    for tried, layout in enumerate(_LAYOUTS, 1):
        if most >= MIN_LAST_PAGE_FILL or process_time() - began > _SECONDS * tried / (tried + 1):
            break
        document = html.render(stylesheets=[CSS(string=layout)], pdf_variant=_VARIANT)
        if (filled := _filled(document)) > most:
            best, most = document, filled
    made: bytes = best.write_pdf(pdf_variant=_VARIANT)
    return made


def _filled(document: Any) -> float:  # noqa: ANN401 (it has no types)
    """Return how much of the last page is filled (0 to 1). A single page counts as full."""
    if len(document.pages) == 1:
        return 1.0
    last = document.pages[-1]
    return float(last.anchors[_END][1] / last.height) if _END in last.anchors else 0.0
