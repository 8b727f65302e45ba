"""What the tenant scope of a grant lets through: sites, metrics, times, and positions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, TenantScope

_OWNER, _FIRST, _SECOND = UUID(int=1), UUID(int=2), UUID(int=3)
_BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
_END = datetime(2026, 4, 1, tzinfo=UTC)
_GRANT = GrantLimits(
    UUID(int=9),
    frozenset({"pm2_5", "laeq"}),
    ((_FIRST, frozenset({"pm2_5", "laeq"})), (_SECOND, frozenset({"pm2_5"}))),
    _BEGIN,
    _END,
    100,
)
_SCOPE = TenantScope((_OWNER,), (_FIRST, _SECOND), _GRANT)


def test_a_sample_is_cut_to_the_grant() -> None:
    values = {"pm2_5": 1.0, "laeq": 2.0, "no2": 3.0}
    assert _SCOPE.limit_to_grant(_FIRST, _BEGIN, values, came_at=None) == {"pm2_5": 1.0, "laeq": 2.0}
    assert _SCOPE.limit_to_grant(_SECOND, _BEGIN, values, came_at=None) == {"pm2_5": 1.0}
    assert _SCOPE.limit_to_grant(UUID(int=4), _BEGIN, values, came_at=None) == {}
    # The range is half open.
    assert _SCOPE.limit_to_grant(_FIRST, _BEGIN - timedelta(microseconds=1), values, came_at=None) == {}
    assert _SCOPE.limit_to_grant(_FIRST, _END, values, came_at=None) == {}
    assert FULL_SCOPE.limit_to_grant(_FIRST, _END, values, came_at=_END) is values
    # What a box measured at a former site is not granted.
    came = _BEGIN + timedelta(hours=1)
    assert _SCOPE.limit_to_grant(_FIRST, _BEGIN, values, came_at=came) == {}
    assert _SCOPE.limit_to_grant(_SECOND, came, values, came_at=came) == {"pm2_5": 1.0}


def test_a_span_is_cut_to_the_time_of_a_box_at_its_site() -> None:
    span = (_BEGIN, _END)
    came = _BEGIN + timedelta(hours=1)
    assert _SCOPE.limit_to_site(span, None) == FULL_SCOPE.limit_to_site(span, came) == span
    assert _SCOPE.limit_to_site(span, came) == (came, _END)
    assert _SCOPE.limit_to_site(span, _BEGIN - timedelta(hours=1)) == span
    assert _SCOPE.limit_to_site(span, _END + timedelta(hours=1)) == (_END, _END)


def test_a_span_is_cut_or_refused() -> None:
    day = timedelta(days=1)
    assert _SCOPE.limit_span(_BEGIN - day, _BEGIN + day) == (_BEGIN, _BEGIN + day)
    assert _SCOPE.limit_span(_BEGIN - day, _END + day) == (_BEGIN, _END)
    for span in ((_BEGIN - day, _BEGIN), (_END, _END + day)):
        with pytest.raises(ForbiddenError) as caught:
            _SCOPE.limit_span(*span)
        assert caught.value.code == "outside_grant"
        assert caught.value.extra == {"from": _BEGIN.isoformat(), "until": _END.isoformat()}
    assert FULL_SCOPE.limit_span(_END, _END) == (_END, _END)


def test_metrics_are_checked_by_name_and_by_site() -> None:
    _SCOPE.check_metrics(["pm2_5", "laeq"])
    with pytest.raises(ForbiddenError):
        _SCOPE.check_metrics(["pm2_5", "no2"])
    FULL_SCOPE.check_metrics(["no2"])
    assert _SCOPE.may_read(_FIRST, "laeq")
    assert not _SCOPE.may_read(_SECOND, "laeq")
    assert _SCOPE.find_sites("laeq") == (_FIRST,)
    assert _SCOPE.find_sites("no2") == ()
    assert FULL_SCOPE.find_sites("no2") is None


def test_transactions_name_the_grant_and_others_do_not() -> None:
    assert ScopedCaller(_SCOPE).settings()["vigie.grant"] == str(_GRANT.grant_id)
    # A pooled connection keeps its settings: everybody else has to clear it.
    assert ScopedCaller(TenantScope.of([_OWNER])).settings()["vigie.grant"] == ""
    assert ScopedCaller(FULL_SCOPE).settings()["vigie.grant"] == ""


def test_positions_are_centres_of_cells() -> None:
    shown = _GRANT.place(1.4453, 43.6045)
    assert shown != (1.4453, 43.6045)
    assert abs(shown[1] - 43.6045) <= 50 / 111_320 + 1e-6
    # All positions of a cell are shown alike.
    assert _GRANT.place(*shown) == shown
    assert GrantLimits(UUID(int=9), frozenset(), ()).place(1.4453, 43.6045) == (1.4453, 43.6045)
