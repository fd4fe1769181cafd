from django.urls import path

from gateway import views

urlpatterns = [path("usage/", views.usage, name="usage")]
