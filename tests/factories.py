"""Rows for tests, by factory_boy. The fixed cast is in conftest.py."""

from datetime import timedelta

import factory
from django.contrib.auth import get_user_model
from django.utils import timezone
from factory.django import DjangoModelFactory

from conversations.models import Conversation
from inference.models import Worker
from personas.models import Persona, PersonaVersion, Voice


class UserFactory(DjangoModelFactory):
    class Meta:
        model = get_user_model()

    username = factory.Sequence(lambda n: f"user{n}")


class VoiceFactory(DjangoModelFactory):
    class Meta:
        model = Voice

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda n: f"Voice {n}")
    digest = "0" * 64
    fingerprint = "test-model"
    seconds = 5.0


class PersonaFactory(DjangoModelFactory):
    class Meta:
        model = Persona
        skip_postgeneration_save = True

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda n: f"Persona {n}")
    version = factory.RelatedFactory(
        "tests.factories.PersonaVersionFactory", factory_related_name="persona"
    )


class PersonaVersionFactory(DjangoModelFactory):
    class Meta:
        model = PersonaVersion

    persona = factory.SubFactory(PersonaFactory, version=None)
    number = 1
    role_prompt = "You enjoy having a good conversation."


class WorkerFactory(DjangoModelFactory):
    class Meta:
        model = Worker

    name = factory.Sequence(lambda n: f"worker-{n}")
    url = "ws://127.0.0.1:1"
    model = "tiny"
    fingerprint = "test-model"
    device = "cpu"
    ready = True
    slots = 2
    started_at = factory.LazyFunction(timezone.now)
    last_seen_at = factory.LazyFunction(timezone.now)


class ConversationFactory(DjangoModelFactory):
    class Meta:
        model = Conversation

    persona_version = factory.SubFactory(PersonaVersionFactory)
    owner = factory.SelfAttribute("persona_version.persona.owner")
    worker_name = "worker-0"
    model = "tiny"
    fingerprint = "test-model"
    alive_at = factory.LazyFunction(timezone.now)
    ended_at = factory.LazyFunction(lambda: timezone.now() + timedelta(seconds=60))
    end_reason = "user_ended"
