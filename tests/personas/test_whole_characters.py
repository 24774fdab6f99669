import pytest

from personas.templatetags.whole_characters import shortened

FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 5, "short"),
        ("no spaces at all", 8, "no spac…"),
        ("one two three four", 16, "one two three…"),
        ("食べ物はおいしい", 5, "食べ物は…"),
        ("ab" + FAMILY + "c", 5, "ab…"),
        ("ab" + FAMILY + "cdef", 8, "ab" + FAMILY + "…"),
        ("abc👍🏽d", 5, "abc…"),
        ("abce\u0301\u0302f", 6, "abc…"),
        ("🇩🇪🇫🇷🇮🇹", 4, "🇩🇪…"),
        ("🇩🇪🇫🇷🇮🇹", 5, "🇩🇪🇫🇷…"),
        ("किताबें", 2, "…"),
        ("a🏴\U000e0067\U000e0062\U000e007fb", 4, "a…"),
    ],
)
def test_nothing_is_cut_within_a_character(text, most, expected):
    assert shortened(text, most) == expected
