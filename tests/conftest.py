"""The fixed cast: alice owns things, bob is a stranger who must be refused."""

import pytest

from tests.factories import PersonaFactory, UserFactory


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
