"""Addresses of the sockets of conversations."""

from django.urls import path

from conversations.live.consumer import ConversationConsumer

websocket_urlpatterns = [
    path("ws/personas/<uuid:persona>/talk/", ConversationConsumer.as_asgi()),
]
