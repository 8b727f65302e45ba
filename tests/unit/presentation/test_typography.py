from app.presentation.typography import clean_line, clean_lines, join_clauses, join_words, typeset_text


def test_french_marks_stand_behind_spaces_that_do_not_break() -> None:
    assert typeset_text("Fait : l'air « bon » ; 75 % de 15 µg/m³ ? Non !", "fr") == (
        "Fait\xa0: l\u2019air «\xa0bon\xa0»\u202f; 75\u202f% de 15\xa0µg/m³\u202f? Non\u202f!"
    )
    assert typeset_text("The day's 15 µg/m³: half?", "en") == "The day\u2019s 15\xa0µg/m³: half?"


def test_lists_are_joined_by_the_words_and_marks_of_the_language() -> None:
    assert [join_words(list(parts), "en") for parts in ("", "a", "ab", "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert join_words(["a", "b", "c"], "fr") == "a, b et c"
    assert (join_clauses(["a, b", "c"], "en"), join_clauses(["a, b", "c"], "fr")) == (
        "a, b; c",
        "a, b\u202f; c",
    )


def test_what_others_wrote_is_one_line_without_what_is_invisible() -> None:
    assert clean_line(" a\r\n\tb\u2028c\u202ed\u2066\0 ", 20) == "a b cd"
    assert clean_line("\U0001f469\u200d\U0001f52c", 20) == "\U0001f469\u200d\U0001f52c"
    assert clean_line("12 345\xa0µg", 20) == "12 345\xa0µg"
    assert clean_line("abcdef", 4) == "abc…"
    assert clean_lines("a\n\n \u202e\nb\r\nc", 100) == ["a", "b", "c"]
    assert sum(map(len, clean_lines("abc\n" * 100, 50))) <= 50
