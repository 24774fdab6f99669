import stat
from io import StringIO

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.test import RequestFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(tmp_path):
    def run(**options):
        out = StringIO()
        path = tmp_path / "data" / "first-account.txt"
        options = {"password_file": path, **options}
        call_command("create_first_account", stdout=out, **options)
        return out.getvalue(), path

    return run


def test_the_first_account_is_an_administrator_who_can_sign_in(run):
    said, path = run(username="root")
    lines = dict(line.split(": ") for line in path.read_text().splitlines())
    assert lines["user name"] == "root"
    request = RequestFactory().post("/sign-in/")
    user = authenticate(request, username="root", password=lines["password"])
    assert user is not None
    assert user.is_superuser
    assert lines["password"] not in said
    assert str(path) in said


def test_only_its_owner_may_read_the_file(run, tmp_path):
    path = tmp_path / "data" / "first-account.txt"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    run()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "old" not in path.read_text()


def test_with_any_account_it_is_silent(run, alice):
    said, path = run()
    assert said == ""
    assert not path.exists()
    assert get_user_model().objects.count() == 1


def test_a_second_run_changes_nothing(run):
    _, path = run()
    before = path.read_text()
    assert run() == ("", path)
    assert path.read_text() == before
