import asyncio
import io
import logging

from personaplex_site.logs import ConversationFilter, conversation_id


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
    assert all(handler["filters"] == ["conversation"] for handler in handlers)
    assert "{conversation}" in settings.LOGGING["formatters"]["line"]["format"]
