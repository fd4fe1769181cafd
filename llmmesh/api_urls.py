"""Addresses under `/api/`; each app brings its own in its `api.py`."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

docs = SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="api_docs.html")

urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", docs, name="api-docs"),
    path("", include("access.api")),
    path("", include("connections.api")),
    path("", include("gateway.api")),
    path("", include("gateway.limits.api")),
    path("", include("gateway.budgets.api")),
    path("", include("gateway.routes.api")),
    path("", include("gateway.explain.api")),
    path("", include("gateway.ledger.api")),
]
