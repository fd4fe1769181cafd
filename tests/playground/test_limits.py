"""Limits in the playground: an answer counts once, and a refusal says when to try again."""

import pytest

from connections.providers.calls import Mode
from gateway.models import Limit
from playground.models import Run
from tests.playground.conftest import Visitor


@pytest.fixture
def visitor(mesh, connect, alice, analysts) -> Visitor:
    connect("openai", group=analysts)
    connect("compatible", {"embed": Mode.EMBEDDING}, group=analysts)
    return Visitor(mesh, alice)


def limit(visitor, **columns):
    Limit.objects.create(**{"scope": "each_user", "what": "requests", "amount": 2, "seconds": 3600, **columns})
    visitor.mesh.refresh()


def test_showing_what_is_sent_counts_for_nothing(visitor, upstream):
    limit(visitor)

    for text in ("one", "two", "three"):
        visitor.ask(text).rest()

    assert [run.state for run in Run.objects.order_by("created_at")] == ["done", "done", "failed"]
    assert len(upstream.requests) == 2


def test_it_takes_no_place_among_the_parallel_ones(visitor):
    limit(visitor, what="parallel", amount=1, seconds=0)

    events = "".join(visitor.ask("one").rest())

    assert "is reached" not in events


def test_a_refusal_says_whose_limit_it_is_and_when_to_try_again(visitor):
    limit(visitor, amount=1)
    visitor.ask("one").rest()

    events = "".join(visitor.ask("two").rest())

    assert "The limit of 1 request per hour is reached for this user. Try again in " in events
    assert " UTC." in events
    assert "The limit of 1 request per hour" in visitor.page


def test_the_other_tabs_tell_it_too(visitor):
    limit(visitor, amount=1)
    fields = {"model": "compatible/embed", "input": "red"}
    assert "1 limit on your calls to this model" in visitor.get("/playground/tabs/embeddings/")
    asked = [visitor.open("POST", "/playground/tabs/embeddings/", fields, htmx=True).read().decode() for _ in "12"]

    assert ["Try again in " in page for page in asked] == [False, True]
