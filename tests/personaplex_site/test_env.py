import pytest
from django.core.exceptions import ImproperlyConfigured

from personaplex_site.env import (
    envbool,
    envint,
    envlist,
    envone,
    envpath,
    envstr,
    envurl,
)


def test_what_is_not_set_takes_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("X", raising=False)
    assert envstr("X", "a") == "a"
    assert envbool("X", True) is True
    assert envint("X", 7) == 7
    assert envlist("X", "a, b") == ["a", "b"]
    assert envpath("X", tmp_path) == tmp_path.resolve()


def test_what_has_no_default_must_be_set(monkeypatch):
    monkeypatch.delenv("X", raising=False)
    with pytest.raises(ImproperlyConfigured, match="Set X"):
        envstr("X")


@pytest.mark.parametrize("value", ["true", "1", "yes", "", "TRUE"])
def test_a_bool_is_true_or_false_and_nothing_else(monkeypatch, value):
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match="X must be True or False"):
        envbool("X", False)


@pytest.mark.parametrize("value", ["", "1.5", "ten", "-1", "1 000", "--1", "²"])
def test_a_whole_number_is_nothing_else(monkeypatch, value):
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match="X must be a whole number"):
        envint("X", 3)


def test_a_number_below_the_least_is_refused(monkeypatch):
    monkeypatch.setenv("X", "0")
    with pytest.raises(ImproperlyConfigured, match="at least 1"):
        envint("X", 3, least=1)


def test_empty_items_of_a_list_are_dropped(monkeypatch):
    monkeypatch.setenv("X", "a,, b ,")
    assert envlist("X", "") == ["a", "b"]


def test_one_of_several(monkeypatch):
    monkeypatch.delenv("X", raising=False)
    assert envone("X", "slide", "end") == "slide"
    monkeypatch.setenv("X", "end")
    assert envone("X", "slide", "end") == "end"
    monkeypatch.setenv("X", "End")
    with pytest.raises(ImproperlyConfigured, match="one of slide, end, not 'End'"):
        envone("X", "slide", "end")


@pytest.mark.parametrize(
    "value", ["sqlite:///secret", "secret", "redis://h:port/0", "//secret"]
)
def test_an_address_of_another_kind_is_refused_and_not_repeated(monkeypatch, value):
    monkeypatch.setenv("X", "redis://:secret@host:6379/0")
    assert envurl("X", "redis") == "redis://:secret@host:6379/0"
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match=r"X (must|is no)") as refused:
        envurl("X", "redis")
    assert "secret" not in str(refused.value)
