"""Whether a site would keep a purpose's data longer than when it was approved."""

import pytest

from app.catalogue.purposes import PURPOSES_BY_NAME
from app.registry.purpose_states import is_retention_weaker
from app.registry.site_retention import RetentionSettings

EVER, MONTH, YEAR = (
    RetentionSettings(),
    RetentionSettings(30, removes=True),
    RetentionSettings(365, removes=True),
)
REFUSED = RetentionSettings(30)


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
def test_only_what_is_kept_longer_is_weaker(
    before: RetentionSettings, after: RetentionSettings, *, weaker: bool
) -> None:
    assert is_retention_weaker(PURPOSES_BY_NAME["acoustic_safety"], before, after) is weaker
