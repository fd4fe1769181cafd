"""What the pages about access can do, through `/api/`."""

from rest_framework.routers import SimpleRouter

from access.api.schema import ApiKeyScheme
from access.api.views import AuditViewSet, GroupViewSet, KeyViewSet, UserViewSet

__all__ = ["ApiKeyScheme", "urlpatterns"]

router = SimpleRouter()
router.register("users", UserViewSet, basename="api-user")
router.register("groups", GroupViewSet, basename="api-group")
router.register("keys", KeyViewSet, basename="api-key")
router.register("audit", AuditViewSet, basename="api-audit")

urlpatterns = router.urls
