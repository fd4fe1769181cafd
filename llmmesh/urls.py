"""All addresses but `/v1` and the probes, which `gateway.http` and `llmmesh.probes` answer before Django."""

from django.urls import include, path

from connections.views.catalogue import catalogue
from llmmesh import views
from llmmesh.search import search

urlpatterns = [
    path("", views.home, name="home"),
    path("search/", search, name="search"),
    path("accounts/", include("access.account_urls")),
    path("", include("access.urls")),
    path("connections/", include("connections.urls")),
    path("models/", catalogue, name="models"),
    path("", include("gateway.urls")),
    path("playground/", include("playground.urls")),
    path("api/", include("llmmesh.api_urls")),
]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.crashed
