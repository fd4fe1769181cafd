"""The breaker, moment by moment, with a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.breaker import IN_A_ROW, LONGEST_PAUSE, PAUSE, Breaker, State


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock)


def call(breaker, worked):
    ticket = breaker.start()
    assert ticket is not None
    breaker.end(ticket, worked)


def opened(breaker):
    for _ in range(IN_A_ROW):
        call(breaker, False)
    return breaker


def test_five_failures_in_a_row_open_it(breaker):
    for _ in range(IN_A_ROW - 1):
        call(breaker, False)
    assert breaker.start() is not None

    call(breaker, False)

    assert breaker.start() is None
    assert breaker.wait() == PAUSE


def test_a_success_between_them_starts_the_count_anew(breaker):
    for worked in [False, False, False, False, True] * 2:
        call(breaker, worked)

    assert breaker.state is State.CLOSED


def test_half_of_twenty_calls_open_it(breaker):
    for worked in [False, True] * 9 + [True]:
        call(breaker, worked)
    assert breaker.state is State.CLOSED

    call(breaker, False)

    assert breaker.state is State.OPEN


def test_failures_of_half_a_minute_ago_are_forgotten(breaker, clock):
    for worked in [False, True] * 9 + [True]:
        call(breaker, worked)
    clock.now += 30

    call(breaker, False)

    assert breaker.state is State.CLOSED


def test_what_says_nothing_about_the_upstream_does_not_count(breaker):
    for _ in range(50):
        call(breaker, None)

    assert breaker.state is State.CLOSED


def test_one_probe_at_a_time_finds_out(breaker, clock):
    opened(breaker)
    clock.now += PAUSE - 0.001
    assert breaker.start() is None
    clock.now += 0.001

    probe = breaker.start()

    assert probe is not None
    assert [breaker.start() for _ in range(3)] == [None] * 3
    breaker.end(probe, True)
    assert breaker.state is State.CLOSED and breaker.wait() == 0


def test_the_pause_doubles_up_to_five_minutes_and_is_short_again_after_a_success(breaker, clock):
    opened(breaker)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.wait())
        clock.now += breaker.wait()
        call(breaker, False)
    assert pauses == [30, 60, 120, 240, 300]

    clock.now += breaker.wait()
    call(breaker, True)

    assert opened(breaker).wait() == PAUSE


def test_a_probe_that_says_nothing_leaves_it_to_the_next_call(breaker, clock):
    opened(breaker)
    clock.now += PAUSE

    call(breaker, None)
    call(breaker, True)

    assert breaker.state is State.CLOSED


def test_calls_that_began_before_it_opened_have_no_say(breaker, clock):
    late = [breaker.start() for _ in range(20)]
    opened(breaker)
    clock.now += 10

    for ticket in late[:10]:
        breaker.end(ticket, False)
    assert breaker.wait() == PAUSE - 10
    clock.now += breaker.wait()
    breaker.start()
    for ticket in late[10:]:
        breaker.end(ticket, True)

    assert breaker.state is State.PROBING


EVENTS = st.lists(
    st.one_of(
        st.just("start"),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([True, False, None])),
        st.tuples(st.just("time"), st.floats(0, 400)),
    ),
    max_size=120,
)


@given(EVENTS)
def test_whatever_happens_it_opens_again_and_lets_one_probe_through(events):
    clock = Clock()
    breaker, running = Breaker(clock), []
    for event in events:
        if event == "start":
            before = breaker.state
            ticket = breaker.start()
            if before is State.PROBING:
                assert ticket is None
            if ticket is not None:
                running.append(ticket)
        elif event[0] == "time":
            clock.now += event[1]
        elif running:
            breaker.end(running.pop(event[1] % len(running)), event[2])
        assert 0 <= breaker.wait() <= LONGEST_PAUSE
    for ticket in running:
        breaker.end(ticket, None)
    clock.now += breaker.wait()

    assert breaker.start() is not None
