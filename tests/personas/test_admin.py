import pytest
from django.core.files.base import ContentFile

from tests.factories import UserFactory, VoiceFactory


@pytest.fixture
def admin(client, db):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def test_lists_and_pages_are_shown(admin, persona, upload):
    voice = VoiceFactory(owner=persona.owner)
    for path in [
        "persona/",
        f"persona/{persona.pk}/change/",
        "voice/",
        f"voice/{voice.pk}/change/",
        "voiceupload/",
        f"voiceupload/{upload.pk}/change/",
    ]:
        assert admin.get(f"/admin/personas/{path}").status_code == 200, path


def test_a_voice_can_be_heard(admin):
    voice = VoiceFactory()
    html = admin.get(f"/admin/personas/voice/{voice.pk}/change/").content.decode()
    assert f"/voices/{voice.pk}/sample/" in html
    voice.sample.save("a.flac", ContentFile(b"fLaC"))
    assert admin.get(f"/voices/{voice.pk}/sample/").content == b"fLaC"


def test_files_and_rows_are_not_torn_apart(admin, upload):
    """Deleting here would leave the file of a voice or an upload behind."""
    voice = VoiceFactory()
    for path in (f"voice/{voice.pk}/delete/", f"voiceupload/{upload.pk}/delete/"):
        assert admin.post(f"/admin/personas/{path}", {"post": "yes"}).status_code == 403
