"""Whether a site would keep a purpose's data longer than when it was approved."""

import pytest

from app.catalogue.purposes import BY_NAME
from app.registry.purpose_states import is_weaker
from app.registry.retention_settings import Retention

EVER, MONTH, YEAR = Retention(), Retention(30, removes=True), Retention(365, removes=True)
REFUSED = Retention(30)


@pytest.mark.parametrize(
    ("before", "after", "weaker"),
    [
        # A site that keeps all for ever was renamed.
        (EVER, EVER, False),
        (MONTH, MONTH, False),
        (YEAR, MONTH, False),
        (EVER, MONTH, False),
        (REFUSED, REFUSED, False),
        (MONTH, YEAR, True),
        (MONTH, EVER, True),
        (MONTH, REFUSED, True),
    ],
)
def test_only_what_is_kept_longer_is_weaker(before: Retention, after: Retention, *, weaker: bool) -> None:
    assert is_weaker(BY_NAME["acoustic_safety"], before, after) is weaker
