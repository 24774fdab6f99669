import pytest
from django.core.files.base import ContentFile

from tests.factories import VoiceFactory

FLAC = b"fLaC" + bytes(range(96))


@pytest.fixture
def voice(alice):
    voice = VoiceFactory(owner=alice)
    voice.sample.save("a.flac", ContentFile(FLAC))
    return voice


@pytest.fixture
def get(client, alice, voice):
    client.force_login(alice)
    url = f"/voices/{voice.pk}/sample/"
    return lambda **headers: client.get(url, headers=headers)


def test_the_owner_hears_it(get):
    response = get()
    assert response.content == FLAC
    assert response.headers["Content-Type"] == "audio/flac"
    assert response.headers["Cache-Control"].startswith("private")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "wanted, part, about",
    [
        ("bytes=0-3", FLAC[:4], "bytes 0-3/100"),
        ("bytes=90-", FLAC[90:], "bytes 90-99/100"),
        ("bytes=-10", FLAC[90:], "bytes 90-99/100"),
        ("bytes=50-1000", FLAC[50:], "bytes 50-99/100"),
    ],
)
def test_a_player_may_ask_for_a_part(get, wanted, part, about):
    response = get(range=wanted)
    assert (response.status_code, response.content) == (206, part)
    assert response.headers["Content-Range"] == about


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=7-3", "bytes=-0"])
def test_a_part_that_is_not_there(get, wanted):
    assert get(range=wanted).status_code == 416


@pytest.mark.parametrize(
    "wanted", ["lines=1-2", "bytes=-", "bytes=a-b", "bytes=1-2,4-5"]
)
def test_what_is_no_range_gets_everything(get, wanted):
    assert get(range=wanted).content == FLAC


def test_a_stranger_hears_nothing(client, bob, voice):
    client.force_login(bob)
    assert client.get(f"/voices/{voice.pk}/sample/").status_code == 404


def test_a_missing_file_is_not_found(get, voice):
    voice.sample.storage.delete(voice.sample.name)
    assert get().status_code == 404
