import pytest
from django.test import Client

from personaplex_site.hashing import places
from personaplex_site.models import SignIn
from tests.factories import UserFactory

OLD, NEW = "correct horse battery", "staple of another kind"
URL = "/account/password/"


@pytest.fixture
def carol(db, client):
    user = UserFactory(username="carol")
    user.set_password(OLD)
    user.save()
    client.force_login(user)
    return user


def change(client, old=OLD, new=NEW, again=None):
    data = {"old_password": old, "new_password1": new}
    return client.post(URL, {**data, "new_password2": new if again is None else again})


def test_a_changed_password_signs_out_every_other_browser(client, carol):
    other = Client()
    other.force_login(carol)
    assert other.get("/").status_code == 200
    response = change(client)
    assert response.headers["Location"] == "/"
    assert "Your password was changed" in client.get("/").content.decode()
    assert other.get("/").status_code == 302
    carol.refresh_from_db()
    assert carol.check_password(NEW)


def test_every_page_leads_there(client, carol):
    assert f'href="{URL}"' in client.get("/").content.decode()
    page = client.get(URL).content.decode()
    assert 'aria-current="page">Password<' in page
    assert "a conversation in this browser continues" in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"old": "wrong"}, "not your current password"),
        ({"new": OLD}, "Choose another one"),
        ({"new": "short"}, "too short"),
        ({"new": "password1234"}, "too common"),
        ({"again": "another"}, "differently the second time"),
        ({"new": ""}, "required"),
    ],
)
def test_it_says_what_is_wrong_and_changes_nothing(client, carol, fields, said):
    page = change(client, **fields).content.decode()
    assert said in page
    assert "was not changed" in page
    carol.refresh_from_db()
    assert carol.check_password(OLD)


def test_the_old_one_can_not_be_guessed_here_either(client, carol, settings):
    settings.LOGIN_FAILURE_LIMIT = 3
    for _ in range(3):
        assert change(client, old="wrong").status_code == 200
    response = change(client)
    assert response.status_code == 429
    assert URL in response.content.decode()
    SignIn.objects.unlock("carol")
    assert change(client).status_code == 302


def test_a_change_is_no_sign_in(client, carol, caplog):
    """Each attempt with the right password was listed as one, valid or not."""
    caplog.set_level("INFO")
    change(client, old="wrong")
    change(client, new="short")
    assert not SignIn.objects.filter(succeeded=True).exists()
    assert not SignIn.objects.filter(counted=True).exists(), "the right one clears them"
    assert change(client).status_code == 302
    said = [r.message for r in caplog.records if r.name == "personaplex_site.accounts"]
    assert said == [
        "password change: wrong password for 'carol' from 127.0.0.1",
        "password change: 'carol' from 127.0.0.1",
    ]


def test_busy_is_said_and_changes_nothing(client, carol, settings):
    settings.SIGN_IN_PARALLEL, settings.SIGN_IN_WAITING = 1, 0
    with places.place():
        assert change(client).status_code == 503
    assert change(client).status_code == 302


def test_it_is_for_people_who_are_signed_in(db, client):
    assert client.get(URL).headers["Location"] == f"/sign-in/?next={URL}"
