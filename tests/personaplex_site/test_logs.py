import asyncio
import io
import logging

from personaplex_site import logs
from personaplex_site.logs import ConversationFilter, RepeatFilter, conversation_id


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


def test_a_line_that_repeats_is_counted_in_its_stead(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepeatFilter(60))
    log = logging.Logger("kombu")
    log.addHandler(handler)

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
