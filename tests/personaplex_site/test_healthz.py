import pytest
from django.core.cache import cache
from django.db import connection
from django.db.utils import OperationalError
from redis.exceptions import ConnectionError as RedisGone


def test_it_answers_without_signing_in(client, db):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"database": True, "redis": True, "workers": 0}
    assert "no-cache" in response.headers["Cache-Control"]


@pytest.mark.parametrize("part", ["database", "redis"])
def test_it_says_what_does_not_answer_and_not_why(client, db, monkeypatch, part):
    def gone(*args):
        error = RedisGone if part == "redis" else OperationalError
        raise error("password in here")

    place, name = (cache, "get") if part == "redis" else (connection, "cursor")
    with monkeypatch.context() as patch:
        patch.setattr(place, name, gone, raising=False)
        response = client.get("/healthz")
    assert response.status_code == 503
    assert not response.json()[part]
    assert b"password" not in response.content
