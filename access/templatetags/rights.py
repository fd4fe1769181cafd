"""What the reader may do, for templates that show a button or leave it out; the view checks again."""

from django import template

from access.models import User

register = template.Library()


@register.filter
def may(user: User, permission: str) -> bool:
    return user.is_authenticated and user.may(permission)
