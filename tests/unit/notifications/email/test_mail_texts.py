from app.notifications.email.mail_texts import ENGLISH, FRENCH, MailTexts, get_mail_texts


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for each in value for text in _texts(each)]
    return [text for each in value.values() for text in _texts(each)] if isinstance(value, dict) else []


def _keys(texts: MailTexts) -> dict[str, object]:
    fields = {name: getattr(texts, name) for name in MailTexts.__dataclass_fields__}
    return {name: set(value) if isinstance(value, dict) else type(value) for name, value in fields.items()}


def test_both_languages_have_all_texts_with_their_typography() -> None:
    assert _keys(FRENCH) == _keys(ENGLISH)
    french = [text for name in _keys(FRENCH) for text in _texts(getattr(FRENCH, name))]
    assert all(f" {mark}" not in text for text in french for mark in ":;!?»%")
    english = [text for name in _keys(ENGLISH) for text in _texts(getattr(ENGLISH, name))]
    assert all("'" not in text for text in [*french, *english])
    assert (get_mail_texts("fr"), get_mail_texts("en"), get_mail_texts("")) == (FRENCH, ENGLISH, ENGLISH)
