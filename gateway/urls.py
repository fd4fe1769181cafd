from django.urls import path

from gateway import views
from gateway.budgets import views as budgets
from gateway.explain import views as explain
from gateway.limits import views as limits
from gateway.routes import views as routes

urlpatterns = [
    path("usage/", views.usage, name="usage"),
    path("explain/", explain.explanation, name="explain"),
    path("routes/", routes.route_list, name="routes"),
    path("routes/new/", routes.route_new, name="route-new"),
    path("routes/new/models/", routes.route_rows, name="route-new-models"),
    path("routes/<int:pk>/models/", routes.route_rows, name="route-models"),
    path("routes/<int:pk>/", routes.route_edit, name="route"),
    path("routes/<int:pk>/delete/", routes.route_delete, name="route-delete"),
    path("usage/export.csv", views.export, name="usage-export"),
    path("budgets/", budgets.budgets, name="budgets"),
    path("budgets/new/", budgets.budget_new, name="budget-new"),
    path("budgets/<int:pk>/", budgets.budget, name="budget"),
    path("budgets/<int:pk>/change/", budgets.budget_change, name="budget-change"),
    path("budgets/<int:pk>/switch/", budgets.budget_switch, name="budget-switch"),
    path("budgets/<int:pk>/remove/", budgets.budget_remove, name="budget-remove"),
    path("budgets/<int:pk>/tell/", budgets.budget_tell, name="budget-tell"),
    path("budgets/<int:pk>/override/", budgets.budget_override, name="budget-override"),
    path("budgets/<int:pk>/overrides/<int:override>/revoke/", budgets.budget_override_revoke, name="budget-revoke"),
    path("limits/", limits.limits, name="limits"),
    path("limits/mine/", limits.my_limits, name="my-limits"),
    path("limits/new/", limits.limit_new, name="limit-new"),
    path("limits/<int:pk>/", limits.limit_change, name="limit"),
    path("limits/<int:pk>/switch/", limits.limit_switch, name="limit-switch"),
    path("limits/<int:pk>/remove/", limits.limit_remove, name="limit-remove"),
]
