from channels.routing import URLRouter  # noqa: F401
from django.urls import path  # noqa: F401

websocket_urlpatterns: list = []
