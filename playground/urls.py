from django.urls import path

from playground import tabs, views

urlpatterns = [
    path("", views.page, name="playground"),
    path("conversations/", views.conversations, name="conversations"),
    path("tabs/<slug:name>/", tabs.tab, name="playground-tab"),
    path("tabs/<slug:name>/model", tabs.change_model, name="playground-tab-model"),
    path("<uuid:conversation_id>/", views.page, name="conversation"),
    path("<uuid:conversation_id>/ask", views.ask, name="ask"),
    path("<uuid:conversation_id>/settings", views.change_settings, name="conversation-settings"),
    path("<uuid:conversation_id>/code", views.draft_code, name="draft-code"),
    path("<uuid:conversation_id>/rename", views.rename, name="rename-conversation"),
    path("<uuid:conversation_id>/delete", views.delete, name="delete-conversation"),
    path("turns/<int:turn_id>/edit", views.edit, name="edit-turn"),
    path("turns/<int:turn_id>/regenerate", views.regenerate, name="regenerate"),
    path("runs/<uuid:run_id>/", views.run, name="run"),
    path("runs/<uuid:run_id>/stop", views.stop, name="stop-run"),
    path("runs/<uuid:run_id>/code", views.run_code, name="run-code"),
    path("runs/<uuid:run_id>/request", views.effective_request, name="effective-request"),
]
