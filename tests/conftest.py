"""The fixed cast: alice owns things, bob is a stranger who must be refused."""

import signal

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections

from tests.factories import PersonaFactory, UserFactory


def pytest_configure():
    """A shell has its background commands ignore Ctrl-C, and whatever those start: the
    processes that tests send it to, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup):
    """The thread in which consumers ask the database keeps its connection, and
    PostgreSQL drops no database that somebody is connected to."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def alice(db):
    return UserFactory(username="alice")


@pytest.fixture
def bob(db):
    return UserFactory(username="bob")


@pytest.fixture
def persona(alice):
    return PersonaFactory(owner=alice, name="Ada")


@pytest.fixture(autouse=True)
def unhashed_static_files(settings):
    """Templates render without collectstatic: no manifest of hashed names here."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


SITE_FOLDERS = ("personas", "conversations", "personaplex_site")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what talks to PostgreSQL or Redis: scripts/test runs it on both kinds. And
    what only computes, in however long: it may run beside the rest."""
    for item in items:
        parts = item.path.relative_to(item.config.rootpath).parts
        if parts[1] in SITE_FOLDERS or {"db", "transactional_db"} & set(
            item.fixturenames
        ):
            item.add_marker("servers")
        elif parts[1] == "inference" and parts[2] != "worker":
            item.add_marker("computing")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU, and this machine has none")
