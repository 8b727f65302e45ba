import pytest

from app.acoustics.great_circle_distance import compute_distance_m


def test_a_distance_is_that_of_a_sphere() -> None:
    # A degree of a meridian; over the date line; from pole to pole.
    assert compute_distance_m(0, 0, 1, 0) == pytest.approx(111_195, rel=1e-4)
    assert compute_distance_m(0, 179.5, 0, -179.5) == pytest.approx(111_195, rel=1e-4)
    assert compute_distance_m(90, 0, -90, 0) == pytest.approx(20_015_115, rel=1e-4)
