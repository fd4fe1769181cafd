"""Prices that admins set: their periods never overlap, and the past is never changed."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from access.models import AuditEvent
from connections import services
from connections.services import ModelChoice
from tests.connections.accounts import connect

ONE, TWO = {"input": "1", "output": "1"}, {"input": "2", "output": "2"}


@pytest.fixture
def model(ada):
    return connect(ada, models=[ModelChoice("gpt-4o")]).models.get()


def in_days(days):
    return timezone.now() + timedelta(days=days)


def test_a_price_is_stored_as_text_and_audited(ada, model):
    price = services.set_price(ada, model, {"input": "0.15", "output": "0"}, note="contract 7")

    event = AuditEvent.objects.get(action="price.set")
    assert model.own_price.amounts == {"input": "0.15", "output": "0"}
    assert (event.after["amounts"], event.after["note"]) == (price.amounts, "contract 7")


def test_a_new_price_ends_the_one_before_it(ada, model):
    first = services.set_price(ada, model, ONE)
    second = services.set_price(ada, model, TWO, starts=in_days(1))

    first.refresh_from_db()
    assert first.ends == second.starts
    assert model.own_price.amounts == ONE


def test_a_price_for_a_time_leaves_the_table_to_hold_again(ada, model, time_machine):
    services.set_price(ada, model, ONE, starts=in_days(1), ends=in_days(2))

    held = []
    for days in (0.5, 1.5, 2.5):
        time_machine.move_to(in_days(0) if days == 0.5 else in_days(1), tick=False)
        held.append(model.own_price and model.own_price.amounts)
    assert held == [None, ONE, None]


@pytest.mark.parametrize(("starts", "ends"), [(0.5, 1.5), (1.2, 1.8), (1.5, 3), (0.5, 3), (0.5, None), (1.5, None)])
def test_overlapping_prices_are_refused(ada, model, starts, ends):
    services.set_price(ada, model, ONE, starts=in_days(1), ends=in_days(2))

    with pytest.raises(ValidationError, match="Another price holds from"):
        services.set_price(ada, model, TWO, starts=in_days(starts), ends=ends and in_days(ends))

    assert model.prices.count() == 1


def test_a_price_for_a_time_does_not_cut_one_without_end(ada, model):
    services.set_price(ada, model, ONE)

    with pytest.raises(ValidationError, match="until further notice"):
        services.set_price(ada, model, TWO, starts=in_days(1), ends=in_days(2))


def test_prices_may_follow_each_other_without_a_gap(ada, model):
    end = in_days(2)
    services.set_price(ada, model, ONE, starts=in_days(1), ends=end)

    services.set_price(ada, model, TWO, starts=end)

    assert model.prices.count() == 2


def test_a_price_that_was_to_come_is_dropped_and_one_that_is_over_stays(ada, model, time_machine):
    later = services.set_price(ada, model, ONE, starts=in_days(1), ends=in_days(2))
    services.end_price(ada, later)
    assert not model.prices.exists()

    kept = services.set_price(ada, model, ONE, ends=in_days(1))
    time_machine.move_to(in_days(3))
    with pytest.raises(ValidationError, match="over already"):
        services.end_price(ada, kept)
    assert model.prices.exists()
