from django.urls import path

from gateway import views

urlpatterns = [
    path("usage/", views.usage, name="usage"),
    path("usage/export.csv", views.export, name="usage-export"),
]
