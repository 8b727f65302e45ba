"""Decides which values of a site may be shown, by its declared purposes. Pure.

A purpose that has ended, is not approved or begins later shows nothing, whenever the values were measured.
"""

from functools import cached_property
from typing import Final

from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, PURPOSES, PurposeName
from app.registry.purpose_policy import SitePurposePolicies

_OTHER_EVENTS: Final[PurposeName] = "acoustic_safety"


class SiteVisibility:
    """The metrics and events of one site that may be shown now.

    Args:
        policies: the site's declared purposes.
        now_us: the present (µs since the epoch).
    """

    def __init__(self, policies: SitePurposePolicies, now_us: int) -> None:
        self._policies = policies
        self._now_us = now_us

    @cached_property
    def _hidden_purposes(self) -> frozenset[PurposeName]:
        now_us = self._now_us
        return frozenset(
            purpose.name
            for purpose in PURPOSES
            if self._policies.refusal(purpose.name, now_us, now_us) is not None
        )

    @cached_property
    def hidden_metrics(self) -> frozenset[str]:
        """The metrics whose purpose is not in force."""
        if self._policies.first_refusal_us > self._now_us:
            return frozenset()
        return frozenset(
            metric
            for purpose in PURPOSES
            if purpose.name in self._hidden_purposes
            for metric in purpose.metrics
        )

    def shows_event(self, type_: str) -> bool:
        """Return whether events of a type may be shown."""
        # Events whose type is not in the catalogue were accepted before it existed, as sounds.
        return PURPOSE_BY_EVENT_TYPE.get(type_, _OTHER_EVENTS) not in self._hidden_purposes
