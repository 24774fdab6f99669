"""What a stranger sends to make a page fail: a sentence, never a traceback."""

import pytest

from personaplex_site.accounts import FIRST_ACCOUNT
from tests.factories import UserFactory


def test_a_session_that_none_can_have_is_taken_for_none(client, db, settings):
    client.cookies[settings.SESSION_COOKIE_NAME] = "aaaaaaaa\0aaaaaaaa"
    assert client.get("/").status_code == 302
    assert client.get("/sign-in/").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/admin/auth/user/?username=%00",
        "/admin/autocomplete/?term=%00&app_label=personas",
        "/conversations/?page=%00",
        "/personas/%00/",
    ],
)
def test_a_nul_in_an_address_is_refused(client, db, address):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    assert client.get(address).status_code == 400


def test_the_sign_in_page_does_not_lead_to_itself(client, alice):
    client.force_login(alice)
    answer = client.get("/sign-in/?next=/sign-in/")
    assert (answer.status_code, answer["Location"]) == (302, "/")
    answer = client.get("/sign-in/?next=/conversations/")
    assert answer["Location"] == "/conversations/"


@pytest.mark.parametrize(("name", "stays"), [("alice", False), ("admin", True)])
def test_the_first_password_is_forgotten_once_it_is_another(
    client, db, settings, tmp_path, name, stays
):
    settings.DATA_DIR = tmp_path
    user = UserFactory(username="alice")
    user.set_password("the first password")
    user.save()
    file = tmp_path / FIRST_ACCOUNT
    file.write_text(f"user name: {name}\npassword: the first password\n")
    client.force_login(user)
    fields = {
        "old_password": "the first password",
        "new_password1": "quite another one 7",
        "new_password2": "quite another one 7",
    }
    assert client.post("/account/password/", fields).status_code == 302
    assert file.exists() == stays
