from django.urls import include, path

from connections.events import events
from connections.views import access, acts, detail, editing, engines, listing, models, prices, templates, trial, wizard

one = [
    path("", detail.overview, name="connection"),
    path("models/", models.models, name="connection-models"),
    path("models/add/", models.add_models, name="connection-models-add"),
    path("models/switch/", models.switch_models, name="connection-models-switch"),
    path("models/<uuid:model>/", models.model, name="connection-model"),
    path("models/<uuid:model>/remove/", models.remove_model, name="connection-model-remove"),
    path("models/<uuid:model>/template/<str:name>/", templates.template, name="connection-template"),
    path("models/<uuid:model>/template/<str:name>/try/", templates.try_template, name="connection-template-try"),
    path(
        "models/<uuid:model>/template/<str:name>/remove/", templates.remove_template, name="connection-template-remove"
    ),
    path("models/<uuid:model>/prices/", prices.prices, name="connection-model-prices"),
    path("models/<uuid:model>/prices/<int:price>/end/", prices.end_price, name="connection-price-end"),
    path("health/", detail.health, name="connection-health"),
    path("access/", access.access, name="connection-access"),
    path("access/<int:grant>/revoke/", access.revoke, name="connection-revoke"),
    path("history/", detail.history, name="connection-history"),
    path("edit/", editing.edit, name="connection-edit"),
    path("engine/", engines.engine, name="connection-engine"),
    path("engine/start/", engines.start, name="connection-engine-start"),
    path("engine/stop/", engines.stop, name="connection-engine-stop"),
    path("engine/parameters/", engines.parameters, name="connection-engine-parameters"),
    path("test/", trial.test_saved, name="connection-test"),
    path("check/", acts.check, name="connection-check"),
    path("pause/", acts.pause, name="connection-pause"),
    path("resume/", acts.resume, name="connection-resume"),
    path("delete/", acts.delete, name="connection-delete"),
]
new = [
    path("", wizard.provider, name="connection-new"),
    path("<slug:kind>/", wizard.credentials, name="connection-new-credentials"),
    path("<slug:kind>/test/", trial.test_draft, name="connection-new-test"),
    path("<slug:kind>/models/", wizard.models, name="connection-new-models"),
    path("<slug:kind>/access/", wizard.access, name="connection-new-access"),
]
urlpatterns = [
    path("", listing.connection_list, name="connections"),
    path("events", events, name="connection-events"),
    path("check/", listing.check_all, name="connections-check"),
    path("new/", include(new)),
    path("<uuid:pk>/", include(one)),
]
