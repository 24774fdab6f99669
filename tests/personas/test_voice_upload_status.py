from personas.tasks import prepare_voice


def test_it_says_what_the_socket_says(client, alice, upload, encoder):
    client.force_login(alice)
    url = f"/voices/uploads/{upload.pk}/"
    assert client.get(url).json()["state"] == "received"
    prepare_voice(str(upload.pk))
    done = client.get(url)
    assert done.json()["type"] == "ready"
    assert client.get(done.json()["sample_url"]).status_code == 200
    assert done.headers["Cache-Control"] == "no-store"


def test_a_stranger_finds_nothing(client, bob, upload):
    client.force_login(bob)
    assert client.get(f"/voices/uploads/{upload.pk}/").status_code == 404


def test_it_needs_a_signed_in_person(client, upload):
    assert client.get(f"/voices/uploads/{upload.pk}/").status_code == 302
