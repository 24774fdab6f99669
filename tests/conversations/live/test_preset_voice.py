"""A persona that speaks with a voice of the model, whichever model runs."""

import uuid

import pytest
from django.urls import reverse
from django.utils import timezone

from conversations.live.admission import admit
from inference.engine.api import Sampling
from personas.errors import VoiceDeleted, VoiceNotInModel, VoiceNotReady
from personas.models import PresetList
from tests.factories import VoiceFactory, WorkerFactory

pytestmark = pytest.mark.django_db


def preset(fingerprint, digest, name="NATF0"):
    return VoiceFactory(
        owner=None, preset=name, fingerprint=fingerprint, digest=digest, name=name
    )


@pytest.fixture
def spoken(persona):
    """The persona's voice, of a model that ran earlier."""
    voice = preset("old", "a" * 64)
    persona.revise(voice=voice)
    return voice


def test_the_prompt_of_the_model_that_runs_is_sent(alice, persona, spoken):
    ours = preset("new", "b" * 64)
    WorkerFactory(fingerprint="unknown", slots=99)
    worker = WorkerFactory(fingerprint="new")
    admitted = admit(alice, persona, uuid.uuid4(), Sampling())
    request = admitted.request
    assert (request.voice, admitted.workers) == (ours, [worker])
    assert request.open.voice == ours.digest
    assert request.version.voice == spoken


def test_a_model_without_it_is_reported_before_and_at_the_start(
    client, alice, persona, spoken
):
    WorkerFactory(fingerprint="new")
    address = reverse("conversation_talk", args=[persona.pk])
    client.force_login(alice)
    assert "being prepared" in client.get(address).content.decode()
    with pytest.raises(VoiceNotReady):
        admit(alice, persona, uuid.uuid4(), Sampling())
    PresetList.objects.create(fingerprint="new", fetched_at=timezone.now())
    page = client.get(address).content.decode()
    assert "“NATF0” came with another model" in page
    assert reverse("persona_edit", args=[persona.pk]) in page
    with pytest.raises(VoiceNotInModel):
        admit(alice, persona, uuid.uuid4(), Sampling())


def test_a_model_that_is_too_slow_is_reported_with_its_figure(client, alice, persona):
    WorkerFactory(ready=False, why_not="one step of 7b takes 912 ms on cpu")
    client.force_login(alice)
    page = client.get(reverse("conversation_talk", args=[persona.pk])).content.decode()
    assert "No conversations are possible right now: one step of 7b takes" in page


def test_a_deleted_voice_is_reported(alice, persona):
    voice = VoiceFactory(owner=alice)
    persona.revise(voice=voice)
    voice.deleted_at = timezone.now()
    voice.save()
    WorkerFactory()
    with pytest.raises(VoiceDeleted, match=str(voice.pk)):
        admit(alice, persona, uuid.uuid4(), Sampling())
