"""A page of the admin that was opened a while ago puts nothing old back."""

import pytest
from django.contrib.auth.models import Group, Permission, User

from tests.factories import UserFactory, VoiceFactory
from tests.personas.forms import filled_in


@pytest.fixture
def admin(client, db):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def open_page(admin):
    def open_page(path, form):
        url = f"/admin/{path}/change/"
        page = filled_in(admin.get(url), form)
        return lambda **changes: admin.post(url, {**page, **changes})

    return open_page


def test_an_old_page_brings_no_deleted_persona_back(open_page, persona):
    send = open_page(f"personas/persona/{persona.pk}", "persona_form")
    persona.delete_softly()
    assert send(name="Eve").status_code == 302
    persona.refresh_from_db()
    assert persona.name == "Eve"
    assert persona.deleted_at is not None


def test_a_name_that_both_changed_is_shown_beside_the_other(open_page, persona):
    send = open_page(f"personas/persona/{persona.pk}", "persona_form")
    persona.edit(persona.edits, "Zoe")
    answer = send(name="Eve")
    assert answer.status_code == 200
    assert "was changed to “Zoe”" in answer.text
    persona.refresh_from_db()
    assert persona.name == "Zoe"
    shown = filled_in(answer, "persona_form")
    assert (shown["name"], shown["initial-name"]) == (["Eve"], ["Zoe"])


def test_sent_again_it_takes_the_place_of_the_newer_one(admin, open_page, persona):
    send = open_page(f"personas/persona/{persona.pk}", "persona_form")
    persona.edit(persona.edits, "Zoe")
    shown = filled_in(send(name="Eve"), "persona_form")
    url = f"/admin/personas/persona/{persona.pk}/change/"
    assert admin.post(url, shown).status_code == 302
    persona.refresh_from_db()
    assert persona.name == "Eve"


def test_the_owner_notices_what_the_admin_changed(open_page, persona):
    edits = persona.edits
    open_page(f"personas/persona/{persona.pk}", "persona_form")(name="Eve")
    persona.refresh_from_db()
    assert persona.edits == edits + 1


def test_an_old_page_gives_no_permission_back(open_page, bob):
    bob.is_staff = True
    bob.save()
    group = Group.objects.create(name="Operators")
    bob.groups.add(group)
    send = open_page(f"auth/user/{bob.pk}", "user_form")
    bob.groups.remove(group)
    User.objects.filter(pk=bob.pk).update(is_staff=False)
    assert send(first_name="Bob").status_code == 302
    bob.refresh_from_db()
    assert (bob.first_name, bob.is_staff) == ("Bob", False)
    assert not bob.groups.exists()


def test_permissions_that_both_changed_conflict(admin, open_page):
    group = Group.objects.create(name="Operators")
    one, two = Permission.objects.all()[:2]
    send = open_page(f"auth/group/{group.pk}", "group_form")
    group.permissions.add(one)
    answer = send(permissions=[two.pk])
    assert str(one) in answer.text.replace("&#x27;", "'")
    assert "Since you opened this page" in answer.text
    assert list(group.permissions.all()) == [one]
    shown = filled_in(answer, "group_form")
    admin.post(f"/admin/auth/group/{group.pk}/change/", shown)
    assert list(group.permissions.all()) == [two]


def test_what_is_untouched_is_saved_as_ever(open_page):
    voice = VoiceFactory(name="Old")
    send = open_page(f"personas/voice/{voice.pk}", "voice_form")
    assert send(name="New").status_code == 302
    voice.refresh_from_db()
    assert voice.name == "New"


def test_an_account_is_added_as_ever(admin):
    fields = {
        "username": "carol",
        "password1": "correct horse 9",
        "usable_password": "true",
    }
    answer = admin.post(
        "/admin/auth/user/add/", {**fields, "password2": fields["password1"]}
    )
    assert answer.status_code == 302, answer.text
    assert User.objects.filter(username="carol").exists()
