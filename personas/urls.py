"""The addresses of personas and voices."""

from django.urls import path

from personas import edit_views, prompt_views, views, voice_views

urlpatterns = [
    path("", views.persona_list, name="persona_list"),
    path("personas/new/", views.persona_create, name="persona_create"),
    path(
        "personas/role-prompt/", prompt_views.role_prompt_room, name="role_prompt_room"
    ),
    path("personas/<uuid:persona_id>/", edit_views.persona_edit, name="persona_edit"),
    path(
        "personas/<uuid:persona_id>/delete/",
        views.persona_delete,
        name="persona_delete",
    ),
    path(
        "personas/<uuid:persona_id>/voice/",
        voice_views.voice_upload,
        name="voice_upload",
    ),
    path(
        "personas/<uuid:persona_id>/voice/<uuid:voice_id>/",
        voice_views.voice_choose,
        name="voice_choose",
    ),
    path("voices/", voice_views.voice_list, name="voice_list"),
    path(
        "voices/<uuid:voice_id>/delete/", voice_views.voice_delete, name="voice_delete"
    ),
    path(
        "voices/uploads/<uuid:upload_id>/",
        voice_views.voice_upload_status,
        name="voice_upload_status",
    ),
    path(
        "voices/<uuid:voice_id>/sample/", voice_views.voice_sample, name="voice_sample"
    ),
]
