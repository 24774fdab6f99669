"""The site below a path of another one, in both servers and in a browser."""

import re
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from personas.models.upload import VoiceUpload
from tests import sounds
from tests.chromium import chromium as chromium
from tests.conversations.logged import write_log
from tests.factories import (
    ConversationFactory,
    PersonaFactory,
    UserFactory,
    VoiceFactory,
    WorkerFactory,
)
from tests.personaplex_site.front.servers import ask, status, web

PREFIX = "/tools/personaplex"
NAME = "personaplex_tools_personaplex"
PASSWORD = "correct horse 9"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def port(request, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        # With DEBUG static files are found where they are, without collecting them.
        about = {"URL_PREFIX": PREFIX, "PAGES_SOCKET": "", "DEBUG": "True"}
        with web(request.param, **about) as (port, _):
            yield port


@pytest.fixture
def alice(transactional_db):
    alice = UserFactory(username="alice", is_staff=True, is_superuser=True)
    alice.set_password(PASSWORD)
    alice.save()
    return alice


@pytest.fixture
def persona(alice):
    return PersonaFactory(owner=alice, name="Ada")


@pytest.fixture
def cookie(client, alice):
    client.force_login(alice)
    return f"{NAME}_session={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def header(answer, name):
    found = re.search(rf"\r\n{name}:(.*?)\r\n".encode(), answer, re.IGNORECASE)
    return found[1].decode().strip() if found else ""


@pytest.mark.parametrize("before", [PREFIX, ""])
def test_it_answers_with_the_prefix_and_without(port, cookie, persona, before):
    """As a proxy passes it on, or takes it off; and who asks from inside."""
    assert status(ask(port, "GET", f"{before}/healthz")) == 200
    page = ask(port, "GET", f"{before}/personas/{persona.pk}/", f"Cookie: {cookie}")
    assert status(page) == 200
    assert f'href="{PREFIX}/conversations/talk/{persona.pk}/"'.encode() in page
    beat = ask(port, "POST", f"{before}/api/workers/heartbeat", body=b"{}")
    assert status(beat) == 401


def test_redirects_lead_below_the_path(port, transactional_db):
    answer = ask(port, "GET", f"{PREFIX}?q=1")
    assert (status(answer), header(answer, "Location")) == (301, f"{PREFIX}/?q=1")
    answer = ask(port, "GET", f"{PREFIX}/conversations/")
    wanted = f"{PREFIX}/sign-in/?next={PREFIX}/conversations/"
    assert header(answer, "Location") == wanted
    answer = ask(port, "GET", f"{PREFIX}/sign-in")
    assert header(answer, "Location") == f"{PREFIX}/sign-in/"
    answer = ask(port, "GET", f"{PREFIX}/favicon.ico")
    assert header(answer, "Location") == f"{PREFIX}/static/img/favicon.svg"


def test_cookies_are_of_the_path_alone(port, transactional_db):
    answer = ask(port, "GET", f"{PREFIX}/sign-in/")
    made = header(answer, "Set-Cookie")
    assert made.startswith(f"{NAME}_csrf=")
    assert f"Path={PREFIX};" in made + ";"


@pytest.mark.parametrize(
    "path", [PREFIX + "x/", "/%74ools/personaplex/", "/x" + PREFIX]
)
def test_what_only_looks_alike_is_not_ours(port, cookie, path):
    assert status(ask(port, "GET", path, f"Cookie: {cookie}")) == 404


def test_only_the_proxy_may_say_where_the_site_is(port, cookie):
    headers = (
        "X-Forwarded-Prefix: /evil",
        "Script-Name: /evil",
        "X-Script-Name: /evil",
    )
    page = ask(
        port, "GET", "/", f"Cookie: {cookie}", *headers, "Daphne-Root-Path: /evil"
    )
    assert status(page) == 200
    assert b"/evil" not in page


def open_socket(port, path, cookie, **more):
    headers = {"Cookie": cookie, **more}
    origin = f"http://127.0.0.1:{port}"
    return connect(
        f"ws://127.0.0.1:{port}{path}", additional_headers=headers, origin=origin
    )


@pytest.mark.parametrize("before", [PREFIX, ""])
def test_sockets_are_below_the_path(port, cookie, persona, before):
    upload = VoiceUpload.objects.create(persona=persona, size=1, state="failed")
    path = f"{before}/ws/voices/{upload.pk}/"
    more = {"Daphne-Root-Path": "/evil"}
    with open_socket(port, path, cookie, **more) as socket:
        assert '"failed"' in socket.recv(timeout=30)


def test_addresses_that_come_by_a_socket_are_below_the_path(port, cookie, persona):
    voice = VoiceFactory(owner=persona.owner)
    upload = VoiceUpload.objects.create(
        persona=persona, size=1, state="ready", voice=voice
    )
    with open_socket(port, f"{PREFIX}/ws/voices/{upload.pk}/", cookie) as socket:
        assert f'"{PREFIX}/voices/{voice.pk}/sample/"' in socket.recv(timeout=30)


def test_a_socket_elsewhere_is_refused(port, cookie):
    with pytest.raises(InvalidStatus), open_socket(port, "/x/ws/voices/", cookie):
        pass


@pytest.fixture
def page(chromium, port):
    """Everything that its pages ask for is below the path, and is there."""
    page = chromium.new_page(base_url=f"http://127.0.0.1:{port}")
    page.asked, problems = [], []
    page.on(
        "response",
        lambda r: (
            r.url.startswith("http")  # not a file that was just chosen
            and page.asked.append((urlsplit(r.url).path, r.status))
        ),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("websocket", lambda s: page.asked.append((urlsplit(s.url).path, 101)))
    yield page
    page.context.close()
    assert problems == []
    elsewhere = [each for each in page.asked if not each[0].startswith(PREFIX + "/")]
    assert elsewhere == []
    assert [each for each in page.asked if each[1] >= 400] == []


def sign_in(page):
    page.goto(PREFIX + "/")
    page.fill("#id_username", "alice")
    page.fill("#id_password", PASSWORD)
    page.click("main .primary")
    page.wait_for_url(f"**{PREFIX}/")


def test_every_page_works_in_a_browser(page, persona):
    WorkerFactory(context_frames=1000)
    talk = write_log(ConversationFactory(persona_version=persona.current), [0, 1])
    sign_in(page)
    page.click("text=Ada >> nth=0")
    page.fill("#id_role_prompt", "You bake bread.")
    page.click("#persona-form [data-submit]")
    page.wait_for_selector(".notice.success")
    page.set_input_files(
        "#id_voice",
        {
            "name": "a.wav",
            "mimeType": "audio/wav",
            "buffer": sounds.encode(sounds.tone(4)),
        },
    )
    with page.expect_websocket() as socket:
        page.click("#voice-form [data-submit]")
    assert "/ws/voices/" in socket.value.url
    page.goto(f"{PREFIX}/conversations/{talk.pk}/")
    page.wait_for_selector("#words")
    page.wait_for_function("document.querySelector('#recording').readyState > 0")
    page.goto(f"{PREFIX}/personas/new/")
    page.fill("#id_name", "Nora")
    page.click("[data-submit]")
    page.wait_for_url(f"**{PREFIX}/personas/*-*/")
    page.click(".brand")
    page.wait_for_url(f"**{PREFIX}/")
    page.goto(f"{PREFIX}/admin/personas/persona/{persona.pk}/change/")
    assert page.get_attribute("text=View site", "href") in (None, f"{PREFIX}/")
    page.goto(PREFIX + "/")
    page.click("text=Sign out")
    page.wait_for_url(f"**{PREFIX}/sign-in/")


def test_the_live_page_finds_its_socket_and_sounds(page, persona):
    WorkerFactory(context_frames=1000)
    sign_in(page)
    page.goto(f"{PREFIX}/conversations/talk/{persona.pk}/")
    page.wait_for_selector("#start:enabled")
    page.click("#samples-panel summary")
    page.wait_for_selector("#samples li")
    page.click("#start")
    page.wait_for_function("document.querySelector('#talk').dataset.phase != 'idle'")
    page.wait_for_timeout(500)
    assert any(
        path.endswith(f"/ws/personas/{persona.pk}/talk/") for path, _ in page.asked
    )
