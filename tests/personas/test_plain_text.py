import pytest

from personas.plain_text import costly, plain


@pytest.mark.parametrize(
    ("text", "expected", "kinds"),
    [
        (
            "“Hello”, she said: ‘it’s me’",
            "\"Hello\", she said: 'it's me'",
            "curly quotes",
        ),
        ("Open 9–17 h — every day…", "Open 9-17 h, every day...", "long dashes"),
        ("Café crème, naïve façade", "Cafe creme, naive facade", "accents"),
        ("cafe\u0301", "cafe", "accents"),
        ("Straße, Ærø, Łódź", "Strasse, AEro, Lodz", "accents"),
        ("a\u00a0b\u202fc\u200b", "a b c", "special spaces"),
        ("# Role\n\nYou are **Nora**.", "Role\n\nYou are Nora.", "markdown"),
        ("- one\n* two\n• three", "one\ntwo\nthree", "markdown"),
        (
            "See [the menu](https://x.y/z), *now*, `it`",
            "See the menu, now, it",
            "markdown",
        ),
        ("You are happy 😀👍🏽 today", "You are happy today", "emoji"),
        ("A family 👨\u200d👩\u200d👧 here", "A family here", "emoji"),
    ],
)
def test_what_costs_tokens_is_replaced_and_named(text, expected, kinds):
    assert plain(text) == expected
    assert kinds in costly(text)


@pytest.mark.parametrize(
    "text",
    [
        "You are Nora. It's 5 * 3 = 15, and snake_case_name stays; $32, 50%, a+b, 2^3.",
        "日本語のテキスト、ひらがなと漢字。が",
        "नमस्ते, как дела? Ёлка и йод. שָׁלוֹם",
        "Facts:\n\nFirst line\n  indented",
        "",
        "<system> You are. <system>",
    ],
)
def test_what_is_plain_or_another_script_stays(text):
    assert plain(text) == text
    assert costly(text) == []


def test_nothing_takes_long_with_hostile_text():
    for text in (
        "*" * 4000,
        "_ " * 2000,
        "[" * 4000,
        "**a" * 1300,
        "`" * 4000,
        "- " * 2000,
    ):
        plain(text)
    assert plain("\ud83d") == "\ud83d"
