"""Addresses of conversations."""

from django.urls import path, re_path

from conversations import views

_ID = r"(?P<pk>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"

urlpatterns = [
    path("", views.conversation_list, name="conversation_list"),
    path("talk/<uuid:persona_id>/", views.conversation_talk, name="conversation_talk"),
    path("<uuid:pk>/", views.conversation_detail, name="conversation_detail"),
    path("<uuid:pk>/data/", views.conversation_data, name="conversation_data"),
    path("<uuid:pk>/levels/", views.conversation_levels, name="conversation_levels"),
    path("<uuid:pk>/end/", views.conversation_end, name="conversation_end"),
    path("<uuid:pk>/delete/", views.conversation_delete, name="conversation_delete"),
    re_path(
        rf"^{_ID}/(?P<side>user|agent|both)\.ogg$",
        views.conversation_recording,
        name="conversation_recording",
    ),
]
