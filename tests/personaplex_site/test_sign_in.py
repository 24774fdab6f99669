from datetime import timedelta
from io import StringIO
from ipaddress import ip_network
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from personaplex_site.hashing import Argon2Hasher
from personaplex_site.models import SignIn
from tests.factories import UserFactory

PASSWORD = "correct horse battery"


@pytest.fixture
def carol(db):
    user = UserFactory(username="carol")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client, password, address="10.0.0.1", **fields):
    data = {"username": "carol", "password": password, **fields}
    return client.post("/sign-in/", data, REMOTE_ADDR=address)


def test_the_right_password_leads_to_the_personas(client, carol):
    assert sign_in(client, PASSWORD).headers["Location"] == "/"
    assert client.get("/").status_code == 200


def test_or_to_the_page_that_was_wanted(client, carol):
    wanted = client.get("/personas/new/").headers["Location"]
    assert wanted == "/sign-in/?next=/personas/new/"
    response = sign_in(client, PASSWORD, next="/personas/new/")
    assert response.headers["Location"] == "/personas/new/"


def test_the_page_says_how_to_get_an_account(client, db):
    page = client.get("/sign-in/").text
    assert "An administrator of this site makes accounts and sets new passwords" in page
    assert "first-account.txt" in page


def test_but_never_to_another_site(client, carol):
    response = sign_in(client, PASSWORD, next="https://evil.example/")
    assert response.headers["Location"] == "/"


def test_a_wrong_password_is_refused(client, carol):
    response = sign_in(client, "wrong")
    assert "do not match" in response.content.decode()


def wrong_passwords(client, count, **how):
    for _ in range(count):
        assert sign_in(client, "wrong", **how).status_code == 200


def test_too_many_wrong_ones_hold_up_the_name_from_there_only(client, carol):
    wrong_passwords(client, 10)
    response = sign_in(client, PASSWORD)
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 600
    page = response.content.decode()
    assert "10 minutes" in page
    assert "unlock_sign_in" in page
    assert "admin/" not in page
    assert sign_in(client, PASSWORD, address="10.0.0.2").status_code == 302


def test_each_client_behind_a_trusted_proxy_has_its_own_fate(client, carol, settings):
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]

    def sign_in_from(address, password):
        data = {"username": "carol", "password": password}
        behind = {"X-Forwarded-For": address}
        return client.post("/sign-in/", data, headers=behind, REMOTE_ADDR="127.0.0.1")

    for _ in range(10):
        sign_in_from("198.51.100.1", "wrong")
    assert sign_in_from("198.51.100.1", PASSWORD).status_code == 429
    assert sign_in_from("198.51.100.2", PASSWORD).status_code == 302


def test_others_write_the_header_in_vain(client, carol):
    for i in range(10):
        claimed = {"HTTP_X_FORWARDED_FOR": f"198.51.100.{i}"}
        client.post(
            "/sign-in/",
            {"username": "carol", "password": "wrong"},
            REMOTE_ADDR="10.0.0.1",
            **claimed,
        )
    assert sign_in(client, PASSWORD).status_code == 429


def test_a_hold_up_ends_by_itself(client, carol, settings):
    wrong_passwords(client, 10)
    SignIn.objects.update(at=timezone.now() - timedelta(seconds=550))
    response = sign_in(client, PASSWORD)
    assert 0 < int(response.headers["Retry-After"]) <= 50
    assert "1 minute." in response.content.decode()
    SignIn.objects.update(at=timezone.now() - timedelta(seconds=601))
    assert sign_in(client, PASSWORD).status_code == 302


def test_what_is_held_up_costs_no_hash_and_no_row(client, carol, monkeypatch):
    wrong_passwords(client, 10)
    monkeypatch.setattr(Argon2Hasher, "verify", lambda *args: pytest.fail("hashed"))
    monkeypatch.setattr(Argon2Hasher, "encode", lambda *args: pytest.fail("hashed"))
    for _ in range(3):
        assert sign_in(client, PASSWORD).status_code == 429
    assert SignIn.objects.count() == 10


def test_the_right_password_clears_the_wrong_ones(client, carol):
    wrong_passwords(client, 9)
    assert sign_in(client, PASSWORD).status_code == 302
    client.logout()
    wrong_passwords(client, 9)
    assert sign_in(client, PASSWORD).status_code == 302


def test_an_address_is_limited_over_all_names(client, carol, settings):
    settings.SIGN_IN_ADDRESS_FAILURES = 3
    for i in range(3):
        assert sign_in(client, "wrong", username=f"stranger{i}").status_code == 200
    assert sign_in(client, PASSWORD).status_code == 429
    assert sign_in(client, PASSWORD, address="10.0.0.2").status_code == 302


def test_an_ipv6_client_is_its_network(client, carol, settings):
    settings.SIGN_IN_ADDRESS_FAILURES = 3
    for i in range(3):
        sign_in(client, "wrong", address=f"2001:db8::{i + 1}", username=f"stranger{i}")
    assert sign_in(client, PASSWORD, address="2001:db8::99").status_code == 429
    assert sign_in(client, PASSWORD, address="2001:db8:0:1::1").status_code == 302


def test_a_name_is_limited_over_all_addresses_but_where_it_is_known(
    client, carol, settings
):
    settings.SIGN_IN_NAME_FAILURES = 3
    assert sign_in(client, PASSWORD, address="10.0.0.9").status_code == 302
    client.logout()
    for i in range(3):
        sign_in(client, "wrong", address=f"10.0.1.{i}")
    assert sign_in(client, PASSWORD, address="10.0.1.7").status_code == 429
    assert sign_in(client, PASSWORD, address="10.0.0.9").status_code == 302


def test_a_name_that_does_not_exist_costs_the_same(client, carol, monkeypatch):
    hashed = []
    verify, encode = Argon2Hasher.verify, Argon2Hasher.encode

    def counting(which):
        def count(*args):
            hashed.append(which)
            return which(*args)

        return count

    monkeypatch.setattr(Argon2Hasher, "verify", counting(verify))
    monkeypatch.setattr(Argon2Hasher, "encode", counting(encode))
    sign_in(client, "wrong")
    sign_in(client, "wrong", username="mallory")
    assert hashed == [verify, encode]


@pytest.mark.parametrize("name", ["", "\0", "n" * 151])
def test_an_impossible_name_is_as_wrong_as_any(client, db, name):
    response = sign_in(client, "wrong", username=name)
    assert "do not match" in response.content.decode()
    assert not SignIn.objects.exists()


@pytest.mark.parametrize("subject", ["carol", "10.0.0.1", "::ffff:10.0.0.1", "--all"])
def test_an_operator_unlocks(client, carol, subject):
    wrong_passwords(client, 10)
    call_command("unlock_sign_in", "somebody", stdout=StringIO())
    call_command("unlock_sign_in", "10.0.0.2", stdout=StringIO())
    assert sign_in(client, PASSWORD).status_code == 429
    said = StringIO()
    call_command("unlock_sign_in", subject, stdout=said)
    assert said.getvalue() == "10 failed attempts no longer count.\n"
    assert sign_in(client, PASSWORD).status_code == 302


@pytest.mark.parametrize("arguments", [[], ["carol", "--all"]])
def test_an_operator_says_whom_to_unlock(arguments):
    with pytest.raises(CommandError):
        call_command("unlock_sign_in", *arguments)


def test_the_admin_has_no_sign_in_of_its_own(client, carol):
    response = client.get("/admin/login/?next=/admin/personas/")
    assert response.headers["Location"] == "/sign-in/?next=/admin/personas/"
    data = {"username": "carol", "password": PASSWORD}
    assert client.post("/admin/login/", data).headers["Location"] == (
        "/sign-in/?next=/admin/"
    )
    assert not SignIn.objects.exists()
    client.force_login(carol)
    assert client.get("/admin/password_change/").headers["Location"] == (
        "/account/password/"
    )


def test_one_who_is_no_staff_is_not_sent_round_in_circles(client, carol):
    client.force_login(carol)
    assert client.get("/admin/", follow=True).status_code == 403


def test_signing_out_needs_a_post_and_works(client, carol):
    client.force_login(carol)
    assert client.get("/sign-out/").headers["Location"] == "/"
    assert client.get("/").status_code == 200
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert client.get("/").status_code == 302


def test_signing_out_twice_leads_to_the_sign_in_page(carol):
    """In a tab whose session has ended; its token may be of before the last sign-in."""
    client = Client(enforce_csrf_checks=True)
    ours = {"origin": "http://testserver", "accept": "text/html"}
    for token in ("", "x" * 64):
        fields = {"csrfmiddlewaretoken": token}
        response = client.post("/sign-out/", fields, headers=ours)
        assert response.status_code == 302
        assert response.headers["Location"] == "/sign-in/"


def test_signing_in_never_leads_to_an_address_without_a_page(client, carol):
    nowhere = f"/conversations/{uuid4()}/delete/"
    assert client.get(nowhere).headers["Location"] == "/sign-in/"
    assert client.get("/sign-out/", follow=True).redirect_chain[-1] == (
        "/sign-in/?next=/",
        302,
    )
    client.force_login(carol)
    response = client.get(nowhere)
    assert response.status_code == 405
    assert "There is no page at this address" in response.text
    assert int(response["Content-Length"]) == len(response.content)


def names(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from names(pattern.url_patterns)
        else:
            yield pattern


def test_every_other_view_needs_a_signed_in_person():
    """Views that let anybody in, by name: a new one has to be put here on purpose."""
    ours = [p for p in get_resolver().url_patterns if "admin" not in str(p.pattern)]
    public = {
        pattern.name
        for pattern in names(ours)
        if not getattr(pattern.callback, "login_required", True)
    }
    known = {"login", "logout", "healthz", "favicon"}
    assert public - {"worker_heartbeat"} == known
