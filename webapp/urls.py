"""Every address of Tandem."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path
from sesame.views import LoginView as OneTimeLoginView

from labeling.api import api
from webapp import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", auth_views.LoginView.as_view(template_name="login.html"), name="login"),
    path("login/once/", OneTimeLoginView.as_view(), name="login-once"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("healthz", health.healthz, name="healthz"),
    path("health/", health.health_page, name="health"),
    path("api/v1/", api.urls),
    path("", include("labeling.urls")),
]
