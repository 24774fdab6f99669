import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import hashers
from django.db import connection
from django.test import Client

from conversations.live import event_loop_load
from personaplex_site import hashing
from personaplex_site.hashing import Argon2Hasher, HashingBusy, HashPlaces
from tests.factories import UserFactory


class Counted:
    """Stands in for a hash, and notes how many ran at once."""

    def __init__(self):
        self.lock, self.now, self.most, self.all = threading.Lock(), 0, 0, 0

    def __call__(self, *args):
        with self.lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.002)  # lets others in, if they may
        with self.lock:
            self.now -= 1
        return "argon2$hash"


@pytest.fixture(autouse=True)
def places(monkeypatch):
    """Of a process that has not hashed yet."""
    fresh = HashPlaces()
    monkeypatch.setattr(hashing, "places", fresh)
    return fresh


@pytest.fixture
def counted(monkeypatch):
    counted = Counted()
    monkeypatch.setattr(hashers.Argon2PasswordHasher, "encode", counted)
    monkeypatch.setattr(hashers.Argon2PasswordHasher, "verify", counted)
    return counted


@pytest.mark.parametrize("parallel", [1, 2])
def test_forty_at_once_are_hashed_a_few_at_a_time(settings, counted, parallel):
    settings.SIGN_IN_PARALLEL = parallel
    settings.SIGN_IN_WAITING, settings.SIGN_IN_WAIT_SECONDS = 40, 300
    with ThreadPoolExecutor(40) as threads:
        both = (hashers.make_password, lambda p: Argon2Hasher().verify(p, "argon2$"))
        done = [threads.submit(both[i % 2], "guess") for i in range(40)]
        for future in done:
            future.result()
    assert counted.all == 40
    assert counted.most <= parallel


@pytest.mark.django_db(transaction=True)
def test_so_are_sign_ins_from_everywhere(settings, counted):
    settings.SIGN_IN_WAITING, settings.SIGN_IN_WAIT_SECONDS = 8, 300

    def sign_in(i):
        data = {"username": f"stranger{i}", "password": "guess"}
        try:
            return Client().post("/sign-in/", data, REMOTE_ADDR=f"10.0.0.{i}")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(sign_in, range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert (counted.all, counted.most) == (40, 1)


@pytest.fixture
def taken(settings, places):
    """The only place, for as long as the test holds it."""
    settings.SIGN_IN_PARALLEL = 1
    with places.place():
        yield


def test_beyond_so_many_that_wait_sign_ins_are_refused(settings, places, taken):
    settings.SIGN_IN_WAITING = 0
    settings.SIGN_IN_WAIT_SECONDS = 300
    with pytest.raises(HashingBusy):
        hashers.make_password("guess")
    assert places.refused == 1


def test_nor_longer_than_so_long(settings, taken):
    settings.SIGN_IN_WAITING, settings.SIGN_IN_WAIT_SECONDS = 4, 0
    with pytest.raises(HashingBusy):
        hashers.check_password("guess", "pbkdf2_sha256$1$salt$hash")


def test_a_place_comes_free_whatever_happened(settings, places):
    settings.SIGN_IN_WAITING = 0
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            places.compute(lambda: 1 / 0)
    assert places.compute(lambda: 1) == 1


def test_threads_that_answer_pages_do_not_hash(places):
    """They would keep 19 MiB each."""
    hashed_in = {places.compute(threading.current_thread) for _ in range(3)}
    assert len(hashed_in) == 1
    assert threading.current_thread() not in hashed_in


@pytest.mark.django_db
def test_who_is_refused_reads_when_to_come_back(settings, client, taken):
    settings.SIGN_IN_WAITING = 0
    data = {"username": "carol", "password": "guess"}
    for _ in range(settings.LOGIN_FAILURE_LIMIT + 1):  # it counts as no failure
        response = client.post("/sign-in/", data)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert "try again" in response.content.decode()


def test_hashes_wait_while_conversations_are_late(settings, monkeypatch):
    settings.SIGN_IN_WAITING, settings.SIGN_IN_WAIT_SECONDS = 4, 0
    settings.MAX_LOOP_LAG_MS = 20
    monkeypatch.setattr(event_loop_load, "WINDOW_SECONDS", 3600)
    late = event_loop_load.EventLoopLoad()
    monkeypatch.setattr(event_loop_load, "PROCESS_LOAD", late)
    late.note(0.001)
    assert hashers.make_password("guess").startswith("argon2")
    for _ in range(9):
        late.note(0.1)
    with pytest.raises(HashingBusy):
        hashers.make_password("guess")


def test_a_hash_takes_little_memory_and_one_core():
    parts = hashers.make_password("guess").split("$")
    assert parts[3] == "m=19456,t=2,p=1"


@pytest.mark.django_db
def test_an_older_hash_is_replaced_when_its_owner_signs_in(client):
    old = hashers.Argon2PasswordHasher()
    user = UserFactory(username="carol", password=old.encode("correct horse", "s" * 22))
    assert "m=102400,t=2,p=8" in user.password
    data = {"username": "carol", "password": "correct horse"}
    assert client.post("/sign-in/", data).status_code == 302
    user.refresh_from_db()
    assert "m=19456,t=2,p=1" in user.password
