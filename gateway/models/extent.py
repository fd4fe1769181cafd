"""Whom or what a limit or a budget is about."""

from django.db import models


class Extent(models.TextChoices):
    """Whom or what a limit or a budget is about."""

    ALL = "all", "Everybody together"
    USER = "user", "One user"
    EACH_USER = "each_user", "Each user"
    KEY = "key", "One API key"
    EACH_KEY = "each_key", "Each API key"
    GROUP = "group", "One group together"
    MODEL = "model", "One model"
    CONNECTION = "connection", "One connection"
