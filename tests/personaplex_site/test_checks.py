from ipaddress import ip_network

import pytest
from django.core.cache import cache
from redis.exceptions import ConnectionError as RedisGone

from personaplex_site import checks, databases
from tests.factories import WorkerFactory

LONG = "s" * 32


def ids(messages):
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


@pytest.mark.parametrize("name", ["SECRET_KEY", "WORKER_SECRET"])
def test_a_short_secret_is_an_error_but_for_a_developer(settings, name):
    settings.DEBUG, settings.SECRET_KEY, settings.WORKER_SECRET = False, LONG, LONG
    assert checks.check_secrets() == []
    setattr(settings, name, "a")
    assert ids(checks.check_secrets()) == ["personaplex.E002"]
    settings.DEBUG = True
    assert checks.check_secrets() == []


def test_opus_is_found_in_the_system_or_in_a_wheel(monkeypatch):
    assert checks.check_opus() == []
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert checks.check_opus() == []
    monkeypatch.setattr(checks, "_opus_of_av", lambda: False)
    assert ids(checks.check_opus()) == ["personaplex.E001"]


def test_a_folder_that_cant_be_written_is_an_error(settings, tmp_path):
    settings.DATA_DIR, settings.MEDIA_ROOT = tmp_path / "new", tmp_path / "media"
    assert checks.check_folders() == []
    (tmp_path / "file").touch()
    settings.DATA_DIR = tmp_path / "file" / "data"
    [message] = checks.check_folders()
    assert "DATA_DIR" in message.msg
    assert "Not a directory" in message.msg


def test_another_database_is_an_error(settings):
    assert checks.check_database_kind() == []
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
    assert ids(checks.check_database_kind()) == ["personaplex.E004"]


def test_voice_limits_must_be_in_order(settings):
    assert checks.check_voice_limits() == []
    settings.VOICE_USED_SECONDS = 2
    assert ids(checks.check_voice_limits()) == ["personaplex.E005"]


def test_https_needs_a_proxy_that_is_believed(settings):
    assert checks.check_proxies() == []
    settings.HTTPS = True
    assert ids(checks.check_proxies()) == ["personaplex.E008"]
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    assert checks.check_proxies() == []


def test_redis_must_answer(monkeypatch):
    def gone(key):
        raise RedisGone("refused")

    assert checks.check_redis() == []
    monkeypatch.setattr(cache, "get", gone, raising=False)
    assert ids(checks.check_redis()) == ["personaplex.E006"]


@pytest.mark.django_db
def test_no_worker_is_a_warning():
    [message] = checks.check_workers()
    assert message.id == "personaplex.W001"
    assert not message.is_serious()
    WorkerFactory()
    assert checks.check_workers() == []


@pytest.mark.django_db
def test_the_connections_of_all_processes_must_fit_the_database(settings):
    asked = {"databases": ["default"]}
    settings.PAGES_SOCKET = "/somewhere"
    assert checks.check_connections(**asked) == []
    assert sum(databases.wanted().values()) < databases.allowed()
    settings.DB_POOL_PAGES = 1000
    [message] = checks.check_connections(**asked)
    assert message.id == "personaplex.E009"
    assert "pages 2000" in message.msg
    assert checks.check_connections() == []  # the database was not needed yet
