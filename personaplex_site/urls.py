"""Every address of the site."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path

from personaplex_site.views import healthz

SIGN_IN = auth_views.LoginView.as_view(redirect_authenticated_user=True)

handler500 = "personaplex_site.views.failed"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("sign-in/", SIGN_IN, name="login"),
    path("sign-out/", auth_views.LogoutView.as_view(), name="logout"),
    path("api/workers/", include("inference.urls")),
    path("conversations/", include("conversations.urls")),
    path("", include("personas.urls")),
]
