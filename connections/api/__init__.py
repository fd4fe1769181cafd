"""What the pages can do with connections, through `/api/`."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from connections.api.views import (
    ConnectionViewSet,
    GrantViewSet,
    HealthView,
    ModelViewSet,
    PriceViewSet,
    ProviderViewSet,
)

router = SimpleRouter()
router.register("providers", ProviderViewSet, basename="api-provider")
router.register("connections", ConnectionViewSet, basename="api-connection")
router.register("models", ModelViewSet, basename="api-model")
router.register("prices", PriceViewSet, basename="api-price")
router.register("grants", GrantViewSet, basename="api-grant")

urlpatterns = [path("", include(router.urls)), path("health/", HealthView.as_view(), name="api-health")]
