from django.urls import path

from inference import views

urlpatterns = [
    path("heartbeat", views.worker_heartbeat, name="worker_heartbeat"),
]
