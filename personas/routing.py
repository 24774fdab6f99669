"""The WebSocket addresses of this app."""

from django.urls import path

from personas.consumers import VoiceUploadConsumer

websocket_urlpatterns = [
    path("ws/voices/<uuid:upload_id>/", VoiceUploadConsumer.as_asgi()),
]
