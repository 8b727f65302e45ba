"""Holds the texts of the pages of GDPR rights requests, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.presentation.translation import BilingualText, translated

WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "title": translated("Exercise a right"),
        "lead": translated(
            "Ask what data are stored, object to their processing, or have them erased or corrected. You "
            "need no account, and need not say who you are. The organisation responsible for the place has "
            "one month to answer."
        ),
        "about": translated("Subject of the request"),
        "site": translated("Place"),
        "no_site": translated("No place in particular"),
        "kind": translated("Type of request"),
        "message": translated("Your request"),
        "message_hint": translated(
            "Give the place and the time as exactly as you can. Do not mention other people."
        ),
        "time": translated("Period, if there is one"),
        "begins_at": translated("From"),
        "ends_at": translated("To"),
        "time_hint": translated("Local time of the place; universal time (UTC) if no place is chosen."),
        "you": translated("About you (optional)"),
        "name": translated("Name"),
        "contact": translated("E-mail or postal address"),
        "optional": translated("optional"),
        "send": translated("Send the request"),
        "made": translated("Your request is registered"),
        "keep": translated(
            "Keep these two codes: you need them to read the answer on this page. They are not shown again, "
            "and cannot be recovered."
        ),
        "reference": translated("Reference"),
        "token": translated("Token"),
        "due": translated("Answer due by"),
        "look_title": translated("Track a request"),
        "look": translated("Show", context="privacy_requests"),
        "withdraw": translated("Withdraw the request"),
        "withdraw_said": translated("A withdrawn request is closed for good. You can make a new one."),
        "withdraw_confirm": translated("Yes, withdraw it"),
        "state": translated("State"),
        "received": translated("Received on"),
        "closed": translated("Closed on"),
        "extension": translated("Why it takes longer"),
        "outcome": translated("Outcome"),
        "answer": translated("Answer"),
        "back": translated("Back to the register"),
        "rights": translated("If you are not satisfied, you can complain to your data-protection authority."),
        "retention": translated(
            "Only the people who handle the request read your text. It is removed {days} days after the "
            "request is closed."
        ),
        "wrong": translated("That did not work"),
    }
)

KINDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "access": translated("Find out what data are stored (access)"),
        "objection": translated("Object to the processing (objection)"),
        "erasure": translated("Have data erased (erasure)"),
        "rectification": translated("Have data corrected (rectification)"),
        "restriction": translated("Have data stored but not used (restriction)"),
        "question": translated("Something else: a question"),
    }
)

STATES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "received": translated("Received"),
        "in_progress": translated("Being worked on"),
        "answered": translated("Answered"),
        "withdrawn": translated("Withdrawn"),
    }
)

OUTCOMES: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "granted": translated("Granted"),
        "partly_granted": translated("Granted in part"),
        "refused": translated("Refused"),
        "nothing_held": translated("No data are stored"),
    }
)

FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "invalid_text": translated("Write something; some characters are not accepted."),
        "text_too_long": translated("The text is too long."),
        "range_reversed": translated("The end must be after the beginning."),
        "not_found": translated("There is no such request or place, or the token does not fit it."),
        "request_closed": translated("The request is already closed."),
        "too_many_attempts": translated("There were too many tries from your address: come back in an hour."),
        "forbidden_content": translated("Pictures, sound and long codes are not accepted: use words."),
        "": translated("Check your input, and try again."),
    }
)
"""Messages for refused forms, by error code; `""` is the message for all other codes."""
