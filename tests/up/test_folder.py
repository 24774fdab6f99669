import os
import socket
import stat

import pytest

from personaplex_site.up import folder as folder_module
from personaplex_site.up.errors import CannotStart, WrongSetting
from personaplex_site.up.folder import Account, DataFolder
from personaplex_site.up.product import Options, check_port, free_port, site_environment


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.open()
    yield folder
    folder.close()


def test_secrets_are_made_once_and_only_ours_to_read(folder):
    first = folder.secrets()

    assert first == folder.secrets()
    assert len(set(first.values())) == 4
    assert mode(folder.path / "secrets.env") == 0o600


def test_a_secret_that_a_newer_version_needs_is_added(folder):
    (folder.path / "secrets.env").write_text("SECRET_KEY=kept\n")

    secrets = folder.secrets()

    assert secrets["SECRET_KEY"] == "kept"
    assert len(secrets["VALKEY_PASSWORD"]) > 40
    assert folder.secrets() == secrets


def test_a_second_supervisor_learns_who_has_the_folder(folder):
    folder.write_note("process 17 serves http://127.0.0.1:8000")

    with pytest.raises(CannotStart, match="process 17 serves"):
        DataFolder(folder.path).open()


def test_a_closed_folder_can_be_opened_again(folder):
    folder.close()
    again = DataFolder(folder.path)
    again.open()
    again.close()


def test_a_folder_that_can_not_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(WrongSetting, match="Choose another with --data"):
        DataFolder(tmp_path / "file" / "data").open()


def test_secrets_that_are_no_text_are_explained(folder):
    (folder.path / "secrets.env").write_bytes(b"SECRET_KEY=\xff\n")

    with pytest.raises(WrongSetting, match=r"secrets\.env can't be read"):
        folder.secrets()


def test_an_address_of_another_machine_is_explained():
    with pytest.raises(WrongSetting, match=r"192\.0\.2\.1 is no address of this"):
        check_port("192.0.2.1", free_port())


def test_existing_folders_keep_their_mode(tmp_path):
    tmp_path.chmod(0o750)
    folder = DataFolder(tmp_path)
    folder.open()
    folder.close()

    assert mode(tmp_path) == 0o750


def test_root_gets_an_error_when_the_database_could_not_enter(tmp_path, monkeypatch):
    if os.geteuid() != 0:  # only root can ask the kernel on another's behalf
        account = Account(65534, 65534)
        monkeypatch.setattr(folder_module, "server_account", lambda: account)
        monkeypatch.setattr(Account, "reaches", lambda self, path: False)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = DataFolder(closed / "data")
    folder.open()

    with pytest.raises(CannotStart, match="/var/lib/personaplex"):
        folder.check_servers_reach()
    folder.close()
    assert mode(closed) == 0o700


def test_an_ordinary_user_runs_the_servers_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module.os, "geteuid", lambda: 1000)

    assert DataFolder(tmp_path).account is None


def test_the_environment_file_can_be_sourced(folder):
    path = folder.write_environment({"SECRET_KEY": "it's $HOME"})

    assert path.read_text() == "export SECRET_KEY='it'\"'\"'s $HOME'\n"
    assert mode(path) == 0o600


def test_the_callers_own_settings_win(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "given")
    secrets = {"SECRET_KEY": "made", "WORKER_SECRET": "made"}
    monkeypatch.delenv("WORKER_SECRET", raising=False)

    site = site_environment(Options(data=tmp_path), secrets)

    assert (site["SECRET_KEY"], site["WORKER_SECRET"]) == ("given", "made")


def test_listening_beyond_this_machine_allows_its_names(tmp_path):
    options = Options(data=tmp_path, host="192.0.2.7")
    site = site_environment(options, {"SECRET_KEY": "a", "WORKER_SECRET": "b"})

    assert "192.0.2.7" in site["ALLOWED_HOSTS"].split(",")


def test_the_path_of_the_option_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("URL_PREFIX", "/other")
    options = Options(data=tmp_path, port=8001, url_prefix="/personaplex")
    site = site_environment(options, {"SECRET_KEY": "a", "WORKER_SECRET": "b"})

    assert site["URL_PREFIX"] == "/personaplex"
    assert options.start_page == "http://127.0.0.1:8001/personaplex/"
    assert options.address == "http://127.0.0.1:8001"  # for those who ask from inside


def test_a_taken_port_names_another_one():
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(CannotStart, match=f"--port {port + 1}"):
            check_port("127.0.0.1", port)


def test_reaching_is_asked_of_the_kernel(tmp_path):
    us = Account(os.geteuid(), os.getegid())

    assert us.reaches(tmp_path)
    assert not us.reaches(tmp_path / "missing")
