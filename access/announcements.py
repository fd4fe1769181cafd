"""Waking other processes. Best effort: whoever misses a message finds the change by polling."""

import redis
from django.conf import settings


def publish(channel: str) -> None:
    if not settings.REDIS_URL:
        return
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            client.publish(channel, "changed")
    except redis.RedisError:
        pass
