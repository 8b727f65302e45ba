"""The page as a PDF: A4, tagged for readers that speak (PDF/UA-1), nothing fetched from anywhere. Pure.

Owns how a nearly empty last page is avoided: what little stands on it is drawn in by a slightly smaller
layout, or gets the section before it as company.
"""

import logging
from time import process_time
from typing import Any, Final

from weasyprint import CSS, HTML
from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from app.reports.render.report_page import RenderedReport

# What a sheet for screens has besides is no fault worth a line.
logging.getLogger("weasyprint").setLevel(logging.ERROR)


class DenyAllFetcher(URLFetcher):  # type: ignore[misc] # it has no types
    """Fetches no address: neither from the network nor from the machine's own files."""

    def fetch(self, url: str, headers: object = None) -> URLFetcherResponse:  # noqa: ARG002 (WeasyPrint's own shape)
        """Refuse (FatalURLFetchingError): a report has all that it needs, so this is a fault."""
        raise FatalURLFetchingError(f"a report fetches nothing, not {url[:64]!r}")


_VARIANT: Final = "pdf/ua-1"
MIN_LAST_PAGE_FILL: Final = 0.4
"""A last page that is filled less is nearly empty."""
_END: Final = "end"
# Tried in turn. At most 6 % smaller: what is set smallest stays readable. Style sheets of a user are stronger
# than the page's own where they say so.
_LAYOUTS: Final = (
    "@page { margin: 13mm 15mm 15mm !important } html { font-size: 8.4pt !important }",
    "@page { margin: 12mm 15mm 14mm !important } html { font-size: 8.1pt !important }",
    ".methods { break-before: page !important }",
    ".reading { break-before: page !important }",
)
# Of the 35 s of a processor that the child has: the largest reports are laid out once or twice.
_SECONDS: Final = 10.0


def render_pdf(page: RenderedReport) -> bytes:
    """Lay out a page (FatalURLFetchingError: something in it is to be fetched)."""
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
    """How much of the last page is filled: 0 to 1; a single page is as full as it has to be."""
    if len(document.pages) == 1:
        return 1.0
    last = document.pages[-1]
    return float(last.anchors[_END][1] / last.height) if _END in last.anchors else 0.0
