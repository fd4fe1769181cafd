"""Lists page by key: the next page begins after the last row seen, however many rows come or go."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from django.db.models import Model, QuerySet

SIZE = 50
LONGEST = 18
"""Digits of a key in an address."""
Row = TypeVar("Row", bound=Model)


class Page(NamedTuple, Generic[Row]):
    rows: Sequence[Row]
    after: str
    """Where the next page begins; empty on the last one."""


def page_after(rows: QuerySet[Row], after: str, *, by: str = "-pk", size: int = SIZE) -> Page[Row]:
    """The rows that follow `after` in the order `by`; an `after` that makes no sense is the beginning."""
    field = by.removeprefix("-")
    if after and "\0" not in after and (field != "pk" or (after.isdecimal() and len(after) <= LONGEST)):
        rows = rows.filter(**{f"{field}__{'lt' if by.startswith('-') else 'gt'}": after})
    found = list(rows.order_by(by)[: size + 1])
    return Page(found[:size], str(getattr(found[size - 1], field)) if len(found) > size else "")
