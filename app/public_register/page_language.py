"""Which language a page is in: what its address says, else what the browser asks for. Pure."""

from app.reports.report_input import ReportLanguage


def negotiate_language(asked: str | None, accepted: str) -> ReportLanguage:
    """English or French.

    Args:
        asked: What the address says; anything but the two is as nothing.
        accepted: The header `Accept-Language`; of equal weight the one that is named first.
    """
    if asked in {"en", "fr"}:
        return "fr" if asked == "fr" else "en"
    best, weight = "en", 0.0
    for part in accepted.split(","):
        name, *parameters = part.strip().lower().split(";")
        quality = _quality(parameters)
        language = name.split("-")[0].strip()
        if language in {"en", "fr"} and quality > weight:
            best, weight = language, quality
    return "fr" if best == "fr" else "en"


def _quality(parameters: list[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
