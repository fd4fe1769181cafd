"""Sign-in, sign-out, change of password: django-allauth's views, and no other of its pages."""

from allauth.account import views
from django.urls import path

from access.permissions import public, requires

urlpatterns = [
    path("login/", public(views.login), name="account_login"),
    path("logout/", public(views.logout), name="account_logout"),
    path("password/change/", requires()(views.password_change), name="account_change_password"),
]
