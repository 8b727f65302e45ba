"""The generated password of the demo's person."""

import re

from app.people.password_rules import check_password
from simulators.demo_definitions import OPERATOR_EMAIL, OPERATOR_NAME
from simulators.demo_people import generate_password


def test_generated_passwords_are_readable_differ_and_are_accepted() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert re.fullmatch(r"([a-km-np-z2-9]{4}-){4}[a-km-np-z2-9]{4}", password)
        assert check_password(password, (OPERATOR_EMAIL, OPERATOR_NAME), field="password") == password
