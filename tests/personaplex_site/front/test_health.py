"""One check for all who ask, and none that lasts."""

import asyncio
import json
import threading

from personaplex_site.front import health
from personaplex_site.front.health import Health


async def test_many_questions_are_one_check(monkeypatch):
    monkeypatch.setattr(health, "_database", lambda: 3)
    monkeypatch.setattr(health, "redis", lambda: True)
    asked = Health()
    answers = await asyncio.gather(*[asked.answer() for _ in range(250)])
    assert asked.checks == 1
    assert {status for status, _ in answers} == {200}
    assert json.loads(answers[0][1]) == {"database": True, "redis": True, "workers": 3}


async def test_an_old_answer_is_not_given(monkeypatch):
    monkeypatch.setattr(health, "FRESH_SECONDS", -1)
    monkeypatch.setattr(health, "_database", lambda: 0)
    monkeypatch.setattr(health, "redis", lambda: False)
    asked = Health()
    assert (await asked.answer())[0] == 503
    await asked.answer()
    assert asked.checks == 2


async def test_a_database_that_hangs_does_not_answer_and_is_asked_once(monkeypatch):
    hangs, times = threading.Event(), []

    def database():
        times.append(1)
        hangs.wait(60)
        return 0

    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(health, "FRESH_SECONDS", -1)
    monkeypatch.setattr(health, "_database", database)
    monkeypatch.setattr(health, "redis", lambda: True)
    asked = Health()
    for _ in range(3):
        status, said = await asked.answer()
        assert status == 503
        assert json.loads(said) == {"database": False, "redis": True, "workers": 0}
    assert len(times) == 1
    hangs.set()
