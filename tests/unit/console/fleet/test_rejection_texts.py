from app.console.fleet.rejection_texts import REJECTION_TEXTS, get_rejection_text
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, REJECTION_REASONS


def test_every_code_of_a_stored_message_has_words() -> None:
    stored = REJECTION_REASONS.keys() - NEVER_STORED_CODES
    assert stored - REJECTION_TEXTS.keys() == set()
    assert REJECTION_TEXTS.keys() - REJECTION_REASONS.keys() == set()


def test_a_code_of_a_later_version_has_general_words() -> None:
    assert get_rejection_text("from_the_future").title == "The message was refused"
