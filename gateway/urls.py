from django.urls import path

from gateway import views
from gateway.limits import views as limits
from gateway.routes import views as routes

urlpatterns = [
    path("usage/", views.usage, name="usage"),
    path("routes/", routes.route_list, name="routes"),
    path("routes/new/", routes.route_new, name="route-new"),
    path("routes/<int:pk>/", routes.route_edit, name="route"),
    path("routes/<int:pk>/delete/", routes.route_delete, name="route-delete"),
    path("usage/export.csv", views.export, name="usage-export"),
    path("limits/", limits.limits, name="limits"),
    path("limits/mine/", limits.my_limits, name="my-limits"),
    path("limits/new/", limits.limit_new, name="limit-new"),
    path("limits/<int:pk>/", limits.limit_change, name="limit"),
    path("limits/<int:pk>/switch/", limits.limit_switch, name="limit-switch"),
    path("limits/<int:pk>/remove/", limits.limit_remove, name="limit-remove"),
]
