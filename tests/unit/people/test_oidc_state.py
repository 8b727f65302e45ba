"""What a browser keeps of a sign-in that is under way."""

from datetime import UTC, datetime, timedelta

from app.people.oidc_state import STATE_LIFETIME_S, OidcSignInState, StateCookieSealer

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_it_comes_back_as_it_was_and_nobody_else_makes_one() -> None:
    luggage, flight = StateCookieSealer("secret"), OidcSignInState.begin(None, NOW)
    cookie = luggage.pack(flight)
    assert luggage.unpack(cookie) == flight
    assert all(secret not in cookie for secret in (flight.state, flight.nonce, flight.verifier))
    assert StateCookieSealer("other").unpack(cookie) is None
    # All but the last letter, of which some bits say nothing.
    for place in range(0, len(cookie) - 1, 7):
        changed = "A" if cookie[place] != "A" else "B"
        assert luggage.unpack(cookie[:place] + changed + cookie[place + 1 :]) is None
    for forged in ("", "x", "é", "A" * 5000):
        assert luggage.unpack(forged) is None


def test_an_answer_comes_in_time_and_to_the_question() -> None:
    flight = OidcSignInState.begin(None, NOW)
    assert flight.is_answered_by(flight.state, NOW + timedelta(seconds=STATE_LIFETIME_S))
    assert not flight.is_answered_by(flight.state, NOW + timedelta(seconds=STATE_LIFETIME_S + 1))
    assert not flight.is_answered_by(flight.state[:-1], NOW)
    assert OidcSignInState.begin(None, NOW).state != flight.state
