"""What a client prefers, by its `Accept` and `Accept-Language` (RFC 9110, 12.5). Pure."""

from collections.abc import Sequence


def select_preferred_offer(header: str, offered: Sequence[str], *, separator: str) -> str:
    """What of an offer a client wants most; the first one where it says nothing, or wants none of it.

    Args:
        header: the header's value, empty where there is none.
        offered: such as `("text/html", "application/pdf")`.
        separator: `/` of media types, `-` of languages: what is before it stands for all that begins so.
    """
    wanted = _weights(header)
    weights = [_weight(each, wanted, separator) for each in offered]
    best = max(weights, default=0.0)
    return offered[weights.index(best)] if best > 0 else offered[0]


def _weights(header: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            continue
        if name and 0 <= weight <= 1:
            found[name] = max(weight, found.get(name, 0.0))
    return found


def _weight(offer: str, wanted: dict[str, float], separator: str) -> float:
    """The weight of what names the offer most closely. `fr-CA` is served by `fr`."""
    if offer in wanted:
        return wanted[offer]
    general = offer.partition(separator)[0]
    if separator == "-":
        ranges = [weight for name, weight in wanted.items() if name.partition("-")[0] == offer]
        if ranges:
            return max(ranges)
        return wanted.get("*", 0.0)
    return wanted.get(f"{general}/*", wanted.get("*/*", 0.0))
