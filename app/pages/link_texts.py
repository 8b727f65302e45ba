"""Holds the texts that the pages of all links share, in English and French."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.presentation.translation import BilingualText, translated

LINK_WORDS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        # The link, where no script took it out of the address.
        "enter_title": translated("Use your link"),
        "enter_label": translated("Link or code"),
        "enter_send": translated("Continue"),
        "wrong": translated("This did not work."),
        "other_language": translated("Français"),
        "menu": translated("Language"),
    }
)

LINK_FAULTS: Final[Mapping[str, BilingualText]] = MappingProxyType(
    {
        "too_many_attempts": translated("There were too many attempts. Wait some minutes, then try again."),
        "foreign_form": translated("Another site's page sent this form. Open your link again."),
        "busy": translated("Vigie cannot answer now. Wait a little, then try again."),
        "": translated("A field is not accepted as it is. Check your input."),
    }
)
