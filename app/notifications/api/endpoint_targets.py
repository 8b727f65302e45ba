"""Where an endpoint leads, in words, without what gives access to it. Pure."""

import msgspec
from yarl import URL


def describe_target(kind: str, url: str | None, target: str | None) -> str | None:
    """Say where an endpoint leads.

    More people read that than may read the endpoint: the path of a URL may be a password, and recipients are
    persons.

    Args:
        kind: The endpoint's.
        url: A webhook's.
        target: A channel's, as JSON text.

    Returns:
        Scheme, host and port of a URL; or how many recipients there are, and at which domains; or the kind.
    """
    if target is None:
        return None if url is None else str(URL(url).origin())
    recipients: list[str] = msgspec.json.decode(target).get("to", [])
    if not recipients:
        return kind
    domains = sorted({recipient.rpartition("@")[2] for recipient in recipients})
    number = len(recipients)
    return f"{number} recipient{'s' if number > 1 else ''} at {', '.join(domains)}"
