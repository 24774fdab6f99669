"""Every address of the site, and whom it answers what. An address without a row fails.

alice owns a persona, a voice, an upload and two conversations, one of them live. Then
there are a stranger; staff without any permission; staff who may view everything,
called viewer here; and a superuser, called root. In the tables ``sign-in`` is a
redirect to the sign-in page or to that of the admin.
"""

from importlib import import_module
from pathlib import Path
from uuid import UUID

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, resolve
from django.utils import timezone

from personas.models.upload import VoiceUpload
from tests.conversations.conftest import _no_connections_left  # noqa: F401 - a fixture
from tests.conversations.logged import write_log
from tests.factories import (
    ConversationFactory,
    UserFactory,
    VoiceFactory,
    WorkerFactory,
)

ROOT = Path(__file__).parents[2]
ROLES = ("anonymous", "owner", "stranger", "staff", "viewer", "root")

PAGES = """
                                        anonymous owner   stranger staff   viewer  root
GET  /healthz                           200       200     200      200     200     200
GET  /favicon.ico                       302       302     302      302     302     302
POST /api/workers/heartbeat             401       401     401      401     401     401
GET  /sign-in/                          200       302     302      302     302     302
GET  /sign-out/                         302       302     302      302     302     302
POST /sign-out/                         302       302     302      302     302     302
GET  /account/password/                 sign-in   200     200      200     200     200
POST /account/password/                 sign-in   200     200      200     200     200

GET  /                                  sign-in   200     200      200     200     200
GET  /personas/new/                     sign-in   200     200      200     200     200
POST /personas/new/                     sign-in   302     302      302     302     302
POST /personas/role-prompt/             sign-in   200     200      200     200     200
GET  /personas/{persona}/               sign-in   200     404      404     404     404
POST /personas/{persona}/               sign-in   302     404      404     404     404
GET  /personas/{persona}/delete/        sign-in   200     404      404     404     404
POST /personas/{persona}/delete/        sign-in   302     404      404     404     404
POST /personas/{persona}/voice/         sign-in   302     404      404     404     404
POST /personas/{persona}/voice/{voice}/ sign-in   302     404      404     404     404

GET  /voices/                           sign-in   200     200      200     200     200
GET  /voices/{voice}/sample/            sign-in   200     404      404     200     200
GET  /voices/{voice}/delete/            sign-in   200     404      404     404     404
POST /voices/{voice}/delete/            sign-in   302     404      404     404     404
GET  /voices/uploads/{upload}/          sign-in   200     404      404     404     404

GET  /conversations/                    sign-in   200     200      200     200     200
GET  /conversations/talk/{persona}/     sign-in   200     404      404     404     404
GET  /conversations/{ended}/            sign-in   200     404      404     200     200
POST /conversations/{ended}/end/          sign-in   302     404      404     404     404
GET  /conversations/{ended}/data/       sign-in   200     404      404     200     200
GET  /conversations/{ended}/levels/     sign-in   202     404      404     202     202
GET  /conversations/{ended}/user.ogg    sign-in   200     404      404     200     200
GET  /conversations/{ended}/agent.ogg   sign-in   200     404      404     200     200
GET  /conversations/{ended}/both.ogg    sign-in   200     404      404     200     200
POST /conversations/{ended}/delete/     sign-in   302     404      404     404     404
GET  /conversations/{live}/             sign-in   200     404      404     200     200
GET  /conversations/{live}/data/        sign-in   200     404      404     200     200
GET  /conversations/{live}/levels/      sign-in   202     404      404     202     202
GET  /conversations/{live}/both.ogg     sign-in   200     404      404     200     200
POST /conversations/{live}/delete/      sign-in   302     404      404     404     404

GET  /admin/                            sign-in   sign-in sign-in  200     200     200
GET  /admin/login/                      sign-in   403     403      403     403     403
POST /admin/logout/                     302       302     302      302     302     302
GET  /admin/password_change/            sign-in   302     302      302     302     302
GET  /admin/password_change/done/       sign-in   sign-in sign-in  200     200     200
GET  /admin/jsi18n/                     sign-in   sign-in sign-in  200     200     200
GET  /admin/autocomplete/               sign-in   sign-in sign-in  403     403     403
GET  /admin/search/?s=Ada               sign-in   sign-in sign-in  200     200     200
GET  /admin/personas/                   sign-in   sign-in sign-in  404     200     200
GET  /admin/r/{persona_type}/{persona}/ sign-in   sign-in sign-in  404     404     404
GET  /admin/r/{talk_type}/{ended}/      sign-in   sign-in sign-in  302     302     302
GET  /admin/auth/user/{alice}/password/ sign-in   sign-in sign-in  403     403     200
GET  /admin/nothing/                    sign-in   sign-in sign-in  404     404     404
"""

# Of each model, answered to a viewer and to root. Staff without permission get 403
# everywhere, no one else gets into the admin, and only root changes anything.
ADMIN = """
                              viewer                          root
                              list add change delete history  list add change delete history
admin.logentry                200  403 200    403    200      200  403 200    403    200
auth.group                    200  403 200    403    200      200  200 200    200    200
auth.user                     200  403 200    403    200      200  200 200    200    200
conversations.conversation    200  403 200    403    200      200  403 200    200    200
inference.hardwaresample      200  403 200    403    200      200  403 200    403    200
inference.worker              200  403 200    403    200      200  403 200    200    200
personas.persona              200  403 200    403    200      200  403 200    403    200
personas.voice                200  403 200    403    200      200  403 200    403    200
personaplex_site.signin       200  403 200    403    200      200  403 200    403    200
personas.voiceupload          200  403 200    403    200      200  403 200    403    200
"""  # noqa: E501

SOCKETS = """
                                        anonymous owner   stranger staff   viewer  root
/ws/personas/{persona}/talk/            4401      open    4404     4404    4404    4404
/ws/voices/{upload}/                    4401      open    4404     4404    4404    4404
"""

FORMS = {
    "/personas/new/": {"name": "Nora"},
    "/personas/{persona}/": {"name": "Ada", "loaded": '[0, 1, "Ada"]'},
}


def rows(table, cells):
    """Lists of cells; those of the headings have fewer."""
    lines = [line.split() for line in table.splitlines()]
    return [line for line in lines if len(line) == cells]


PAGE_ROWS = rows(PAGES, 2 + len(ROLES))
ADMIN_ROWS = {name: cells for name, *cells in rows(ADMIN, 1 + 2 * 5)}
SOCKET_ROWS = rows(SOCKETS, 1 + len(ROLES))


@pytest.fixture(autouse=True)
def surroundings(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    layer = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": layer}
    monkeypatch.setattr("celery.app.base.Celery.send_task", lambda *args, **kw: None)


@pytest.fixture
def people(alice, bob):
    viewer = UserFactory(username="viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return {
        "anonymous": AnonymousUser(),
        "owner": alice,
        "stranger": bob,
        "staff": UserFactory(username="staff", is_staff=True),
        "viewer": viewer,
        "root": UserFactory(username="root", is_staff=True, is_superuser=True),
    }


@pytest.fixture
def clients(people):
    clients = {role: Client() for role in people}
    for role, client in clients.items():
        if role != "anonymous":
            client.force_login(people[role])
    return clients


@pytest.fixture
def things(alice, persona):
    voice = VoiceFactory(owner=alice)
    voice.sample.save("a.flac", ContentFile(b"fLaC"))
    live = {"ended_at": None, "end_reason": ""}
    talks = [
        write_log(ConversationFactory(persona_version=persona.current, **about), [0, 1])
        for about in ({}, live)
    ]
    return {
        "alice": alice,
        "persona": persona,
        "voice": voice,
        "upload": VoiceUpload.receive(persona, ContentFile(b"OggS", "a.ogg")),
        "ended": talks[0],
        "live": talks[1],
    }


def keys(things):
    type_of = ContentType.objects.get_for_model
    types = {
        "persona_type": type_of(things["persona"]).pk,
        "talk_type": type_of(things["ended"]).pk,
    }
    return {**types, **{name: thing.pk for name, thing in things.items()}}


def answer(client, method, address, data=None):
    """In a word of the tables; whatever it changed is undone."""
    with transaction.atomic():
        response = getattr(client, method.lower())(address, data or {})
        transaction.set_rollback(True)
    asked = response.get("Location", "").startswith(("/sign-in/?", "/admin/login/?"))
    return "sign-in" if asked else str(response.status_code)


@pytest.mark.parametrize("row", PAGE_ROWS, ids=lambda row: " ".join(row[:2]))
def test_a_page_answers_whom_it_should(row, clients, things):
    method, pattern, *expected = row
    address = pattern.format(**keys(things))
    data = FORMS.get(pattern)
    given = [answer(clients[role], method, address, data) for role in ROLES]
    assert dict(zip(ROLES, given, strict=True)) == dict(
        zip(ROLES, expected, strict=True)
    )


def one_of(label, things):
    """A row of this model, for the admin to show."""
    figures = ["cpu_percent", "ram_used_mb", "ram_total_mb", "process_ram_mb"]
    figures += ["sessions", "tick_p50_ms", "tick_p99_ms", "late_frames"]
    fields = {
        "admin.logentry": {"user": things["alice"], "action_flag": 1},
        "auth.group": {"name": "all"},
        "personaplex_site.signin": {"name": "alice"},
        "inference.hardwaresample": {"at": timezone.now(), **dict.fromkeys(figures, 1)},
    }
    there = {
        "auth.user": "alice",
        "conversations.conversation": "ended",
        "personas.persona": "persona",
        "personas.voice": "voice",
        "personas.voiceupload": "upload",
    }
    if label in there:
        return things[there[label]]
    if label == "inference.worker":
        return WorkerFactory()
    if label == "inference.hardwaresample":
        fields[label]["worker"] = WorkerFactory()
    return apps.get_model(label).objects.create(**fields[label])


@pytest.mark.parametrize("label", ADMIN_ROWS)
def test_the_admin_shows_a_model_to_whom_it_should(label, clients, things):
    folder = f"/admin/{label.replace('.', '/')}/"
    one = f"{folder}{one_of(label, things).pk}/"
    pages = [folder, folder + "add/"]
    pages += [one + page for page in ("change/", "delete/", "history/")]

    def given(role, method="get"):
        return [answer(clients[role], method, page) for page in pages]

    assert given("viewer") + given("root") == ADMIN_ROWS[label]
    assert given("staff") == ["403"] * 5
    assert given("staff", "post")[1:4] == given("viewer", "post")[1:4] == ["403"] * 3
    assert given("owner") == given("stranger") == ["sign-in"] * 5
    assert given("anonymous") == given("anonymous", "post") == ["sign-in"] * 5
    assert answer(clients["owner"], "get", one) == "sign-in"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("row", SOCKET_ROWS, ids=lambda row: row[0])
async def test_a_socket_opens_for_whom_it_should(row, people, things):
    pattern, *expected = row
    address = pattern.format(**{name: thing.pk for name, thing in things.items()})
    given = [await opening(address, people[role]) for role in ROLES]
    assert dict(zip(ROLES, given, strict=True)) == dict(
        zip(ROLES, expected, strict=True)
    )


async def opening(address, user):
    communicator = WebsocketCommunicator(URLRouter(sockets()), address)
    communicator.scope["user"] = user
    await communicator.connect(30)
    await communicator.send_to(text_data='{"type": "end"}')  # so that it answers
    first = await communicator.receive_output(30)
    await communicator.disconnect()
    code = str(first.get("code", ""))
    return code if code in ("4401", "4404") else "open"


def sockets():
    """The WebSocket addresses of every app of ours."""
    ours = [app.name for app in apps.get_app_configs() if (ROOT / app.name).is_dir()]
    ours = [name for name in ours if (ROOT / name / "routing.py").exists()]
    modules = [import_module(f"{name}.routing") for name in ours]
    return [route for module in modules for route in module.websocket_urlpatterns]


def routes(patterns, before=""):
    """As Django's resolver names them."""
    for pattern in patterns:
        route = before + str(pattern.pattern).removeprefix("^" if before else "")
        if hasattr(pattern, "url_patterns"):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


def test_every_page_has_a_row():
    models = {model._meta.label_lower for model in admin.site._registry}
    assert models == set(ADMIN_ROWS), "the models of the admin and the rows of ADMIN"
    one = "<path:object_id>/"
    pages = ("", "add/", one, f"{one}change/", f"{one}delete/", f"{one}history/")
    held = {
        f"admin/{label.replace('.', '/')}/{page}" for label in models for page in pages
    }
    for _, pattern, *_ in PAGE_ROWS:
        held.add(resolve(filled(pattern).partition("?")[0]).route)
    there = set(routes(get_resolver().url_patterns))
    assert there - held == set(), "these need rows in PAGES"
    assert held - there == set(), "these rows are of pages that are gone"


def test_every_socket_has_a_row():
    addresses = [filled(pattern).lstrip("/") for pattern, *_ in SOCKET_ROWS]
    for route in sockets():
        found = [address for address in addresses if route.pattern.match(address)]
        assert len(found) == 1, f"{route.pattern} needs a row in SOCKETS"
    assert len(addresses) == len(sockets())


def filled(pattern):
    """With keys of nothing."""
    numbers = dict.fromkeys(("alice", "persona_type", "talk_type"), 1)
    uuids = dict.fromkeys(("persona", "voice", "upload", "ended", "live"), UUID(int=0))
    return pattern.format(**numbers, **uuids)
