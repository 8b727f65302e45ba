"""Metres around a place, and the speed of sound."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.acoustics.localisation_inputs import AirConditions, compute_speed_of_sound
from app.acoustics.tangent_plane import TangentPlane


@given(st.floats(-180, 180), st.floats(-75, 75), st.floats(-5_000, 5_000), st.floats(-5_000, 5_000))
def test_degrees_lead_back_to_the_same_metres(lon: float, lat: float, east: float, north: float) -> None:
    frame = TangentPlane(lon, lat)
    again = frame.to_plane(*frame.to_degrees(east, north))
    assert math.dist(again, (east, north)) < 1e-5


def test_lengths_are_those_of_the_ellipsoid() -> None:
    # 0.01° of latitude around 45° N is 1,111.32 m on WGS 84, of longitude 788.47 m (published tables).
    frame = TangentPlane(7.0, 45.0)
    assert frame.to_plane(7.0, 45.01)[1] == pytest.approx(1_111.32, abs=0.02)
    assert frame.to_plane(7.01, 45.0)[0] == pytest.approx(788.47, abs=0.02)


def test_a_frame_lies_in_the_middle_over_the_date_line_too() -> None:
    frame = TangentPlane.around([(179.99, -17.0), (-179.99, -17.02)])
    assert abs(frame.lon) == pytest.approx(180.0)
    assert frame.to_plane(-179.99, -17.01)[0] == pytest.approx(1_064, abs=2)
    with pytest.raises(ValueError, match="place"):
        TangentPlane.around([])


def test_sound_is_as_fast_as_the_air_is_warm() -> None:
    assert compute_speed_of_sound(0.0) == pytest.approx(331.3)
    assert compute_speed_of_sound(20.0) == pytest.approx(343.2, abs=0.05)
    step = (compute_speed_of_sound(16.0) - compute_speed_of_sound(14.0)) / 2 / compute_speed_of_sound(15.0)
    assert AirConditions(15.0, temperature_sigma_c=1.0).slowness_sigma == pytest.approx(step, rel=1e-3)
    with pytest.raises(ValueError, match="above"):
        compute_speed_of_sound(-300.0)
