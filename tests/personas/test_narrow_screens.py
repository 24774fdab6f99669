"""No page is wider than the screen of a small phone, whatever people are called."""

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tests.conversations.logged import write_log
from tests.factories import (
    ConversationFactory,
    PersonaFactory,
    VoiceFactory,
    WorkerFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ["W" * 80, "😀👩\u200d🚀" * 20, "Wolfeschlegelsteinhausenbergerdorff the First"]
PAGES = [
    *("/", "/personas/new/", "/voices/", "/conversations/"),
    *("/personas/{persona}/", "/personas/{persona}/delete/", "/voices/{voice}/delete/"),
    *("/conversations/talk/{persona}/", "/conversations/{talk}/"),
    *("/account/password/", "/nothing/"),
]
WIDTH = 320
WIDER = """
[...document.querySelectorAll("body *")].filter((element) => {
  if (element.closest(".visually-hidden, .skip, svg, [data-scrolls]")) return false;
  return element.getBoundingClientRect().right > innerWidth + 0.5;
}).slice(0, 5).map((element) => element.outerHTML.slice(0, 120))
"""


def test_no_page_is_wider_than_the_screen(chromium, live_server, client):
    alice = User.objects.create_user("a" * 60)
    WorkerFactory(context_frames=1000)
    for name in reversed(NAMES):  # the pages of one are those of the first
        voice = VoiceFactory(owner=alice, name=name)
        persona = PersonaFactory(owner=alice, name=name)
        persona.revise(role_prompt="x" * 300, voice=voice)
        talk = ConversationFactory(persona_version=persona.current)
    write_log(talk, [0, 1])
    client.force_login(alice)
    context = chromium.new_context(viewport={"width": WIDTH, "height": 700})
    name = settings.SESSION_COOKIE_NAME
    session = {"name": name, "value": client.cookies[name].value}
    context.add_cookies([{**session, "url": live_server.url}])
    page = context.new_page()
    keys = {"persona": persona.pk, "voice": voice.pk, "talk": talk.pk}
    wide = {}
    for address in PAGES:
        page.goto(live_server.url + address.format(**keys))
        page.evaluate(
            "for (const d of document.querySelectorAll('details')) d.open = true"
        )
        scrolls = page.evaluate("document.documentElement.scrollWidth")
        if scrolls > WIDTH:
            wide[address] = scrolls, page.evaluate(WIDER)
    context.close()
    assert wide == {}
