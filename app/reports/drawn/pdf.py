"""The page as a PDF: A4, tagged for readers that speak (PDF/UA-1), nothing fetched from anywhere. Pure."""

import logging

from weasyprint import HTML
from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from app.reports.drawn.page import Page

# What a sheet for screens has besides is no fault worth a line.
logging.getLogger("weasyprint").setLevel(logging.ERROR)


class Nothing(URLFetcher):  # type: ignore[misc] # it has no types
    """Fetches no address: neither from the network nor from the machine's own files."""

    def fetch(self, url: str, headers: object = None) -> URLFetcherResponse:  # noqa: ARG002 (WeasyPrint's own shape)
        """Refuse (FatalURLFetchingError): a report has all that it needs, so this is a fault."""
        raise FatalURLFetchingError(f"a report fetches nothing, not {url[:64]!r}")


def pdf_of(page: Page) -> bytes:
    """Lay out a page (FatalURLFetchingError: something in it is to be fetched)."""
    document = HTML(string=page.html, url_fetcher=Nothing())
    made: bytes = document.write_pdf(pdf_variant="pdf/ua-1")
    return made
