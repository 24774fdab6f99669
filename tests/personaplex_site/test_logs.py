import asyncio
import io
import logging
from contextlib import suppress

import redis
from django.utils.module_loading import import_string

from personaplex_site import logs
from personaplex_site.logs import ConversationFilter, RepeatFilter, conversation_id
from personaplex_site.lost_lines import StderrHandler
from tests.factories import UserFactory


def logged(write):
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(ConversationFilter())
    handler.setFormatter(logging.Formatter("[{conversation}] {message}", style="{"))
    log = logging.Logger("test")
    log.addHandler(handler)
    write(log)
    return handler.stream.getvalue().splitlines()


def test_a_line_outside_of_conversations_has_a_dash():
    assert logged(lambda log: log.info("hello")) == ["[-] hello"]


def test_each_line_has_its_own_conversation_even_in_threads():
    async def talk(log, name):
        conversation_id.set(name)
        await asyncio.sleep(0)
        await asyncio.to_thread(log.info, name)

    async def two(log):
        await asyncio.gather(talk(log, "one"), talk(log, "two"))

    assert sorted(logged(lambda log: asyncio.run(two(log)))) == [
        "[one] one",
        "[two] two",
    ]


def test_settings_put_it_on_every_handler(settings):
    handlers = settings.LOGGING["handlers"].values()
    assert all("conversation" in handler["filters"] for handler in handlers)
    assert "{conversation}" in settings.LOGGING["formatters"]["line"]["format"]


def test_who_is_refused_leaves_one_line(client, db, settings):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    for name in settings.LOGGING["handlers"]["stderr"]["filters"]:
        made = settings.LOGGING["filters"][name]["()"]
        handler.addFilter(import_string(made)())
    django = logging.getLogger("django")
    django.addHandler(handler)
    try:
        client.force_login(UserFactory())
        assert client.get("/admin/login/").status_code == 403
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    finally:
        django.removeHandler(handler)
    forbidden, unknown, *rest = stream.getvalue().splitlines()
    assert forbidden == "Forbidden (Permission denied): /admin/login/"
    assert "evil.example" in unknown
    assert not [line for line in rest if line.startswith((" ", "Traceback"))]


def quieted(name):
    """A logger whose lines pass once in 60 s, and what passed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepeatFilter(60))
    log = logging.Logger(name)
    log.addHandler(handler)
    return log, stream


def test_a_line_that_repeats_is_counted_in_its_stead(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    log, stream = quieted("kombu")

    for number in range(5):
        log.error("cannot connect, attempt %s", number)
        log.error("something else")
        log.info("working")
    now[0] += 61
    log.error("cannot connect, attempt %s", 5)

    lines = [line for line in stream.getvalue().splitlines() if line != "working"]
    assert lines == [
        "cannot connect, attempt 0",
        "something else",
        "cannot connect, attempt 5 (and 4 more like it)",
    ]
    assert stream.getvalue().count("working") == 5


def test_a_server_that_is_away_is_logged_in_one_line():
    log, stream = quieted("celery.beat")

    def fail(error):
        try:
            try:
                raise OSError("in the middle of something")
            except OSError:
                raise error from None
        except Exception as caught:
            log.error("Not sent: %s\n%s", caught, ["a stack"], exc_info=True)

    fail(redis.ConnectionError("Error 111 connecting to redis:6379."))
    assert stream.getvalue().splitlines() == [
        "Not sent: Error 111 connecting to redis:6379."
    ]
    try:
        try:
            raise ConnectionRefusedError("refused")
        except OSError:
            raise AttributeError("no hostname")  # noqa: B904 - as libraries do
    except AttributeError as error:
        log.critical("Unrecoverable error: %r", error, exc_info=True)
    assert stream.getvalue().splitlines()[1:] == [
        "Unrecoverable error: AttributeError('no hostname'): "
        "ConnectionRefusedError: refused"
    ]


def test_another_error_keeps_its_traceback():
    log, stream = quieted("celery")
    try:
        raise KeyError("ours")
    except KeyError:
        log.exception("failed")
    assert "Traceback" in stream.getvalue()


def test_a_full_disk_costs_lines_and_no_tracebacks(settings, capsys):
    """/dev/full is one. What stderr is redirected to, without a supervisor."""
    wanted = settings.LOGGING["formatters"]["line"]
    handler = StderrHandler(io.StringIO())
    handler.setFormatter(logging.Formatter(wanted["format"], style=wanted["style"]))
    handler.addFilter(ConversationFilter())
    log = logging.Logger("web")
    log.addHandler(handler)
    room = handler.stream
    with open("/dev/full", "w", buffering=1) as full:
        handler.setStream(full)
        for number in range(1000):
            log.info("lost %d", number)
        handler.stream = room
        log.info("after")
        with suppress(OSError):
            full.close()
    after, missing = room.getvalue().splitlines()
    assert after.endswith("after")
    assert missing.endswith("1000 lines are missing here: they could not be written")
    assert capsys.readouterr().err == ""
