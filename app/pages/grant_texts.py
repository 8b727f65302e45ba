"""Holds the texts of the page of a grant, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.pages.link_texts import LINK_FAULTS, LINK_WORDS
from app.presentation.translation import BilingualText, translated

WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        **LINK_WORDS,
        "enter_lead": translated("Paste the link of the grant that you were given, or its code (vgo_…)."),
        # The offer.
        "offer_title": translated("{organisation} grants you access to measurements"),
        "offer_lead": translated(
            "{organisation} offers {recipient} to read the following measurements. You have access once you "
            "accept below."
        ),
        "change_lead": translated(
            "{organisation} offers {recipient} a change of the grant. Until you accept it, the former "
            "content applies."
        ),
        "purpose": translated("What you may use them for"),
        "sites": translated("Sites"),
        "metrics": translated("Metrics"),
        "times": translated("Measurement times"),
        "times_all": translated("everything that is stored, and new data as they arrive"),
        "times_from": translated("from {begin} on, and new data as they arrive"),
        "times_until": translated("everything before {end}"),
        "times_between": translated("from {begin} to {end}"),
        "precision": translated("Positions"),
        "precision_exact": translated("exact"),
        "precision_cell": translated("to within {metres} m"),
        "valid_until": translated("The grant ends"),
        "moment": translated("{day}, {clock} (UTC)"),
        "changed": translated("changed"),
        "terms": translated("Terms"),
        "not_expected": translated(
            "If you did not expect this offer, close the page: nothing happens until you accept."
        ),
        "recorded": translated(
            "Your name, the time, your IP address and the accepted content are recorded. Each use of the "
            "grant is counted and shown to {organisation} and to you."
        ),
        "accept_title": translated("Accept"),
        "name": translated("Your name"),
        "new_key": translated("Create a new key. The present keys stop working."),
        "accept": translated("I accept the terms for {recipient}"),
        # Afterwards.
        "accepted_title": translated("The grant is accepted"),
        "next": translated("What to do next"),
        "key_said": translated("This is the key of the grant. It is shown only here: store it now."),
        "key_kept": translated("The present key continues to work."),
        "try_it": translated("See what you can read:"),
        "guide": translated("Guide: which calls accept the key of a grant"),
        # A link that does not work.
        "ended_title": translated("This link does not work any more"),
        "ended_lead": translated(
            "The grant may have been accepted already, the link may have expired, or there is a newer one. "
            "Ask the organisation that sent it for another one."
        ),
    }
)

FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        **LINK_FAULTS,
        "offer_changed": translated("The offer has changed meanwhile. Read it again."),
    }
)
