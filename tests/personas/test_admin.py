import pytest

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
