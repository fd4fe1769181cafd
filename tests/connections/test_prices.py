"""Money: golden sums (written beside each case), and what is not known stays unknown."""

import datetime

import pytest

from connections import prices, prices_extra
from connections.prices import TABLE, UNKNOWN, Cost, OwnPrice, check_override, own_in_force
from connections.providers.calls import Usage
from connections.providers.llamacpp import LlamaCpp


def cost(model, provider, usage, amounts=None):
    return prices.cost(model, provider, usage, OwnPrice(7, amounts, 0, None) if amounts else None)


def test_a_listed_model():
    # gpt-4o-mini: 0.15 in, 0.60 out per million.  1,000 × 150 + 500 × 600 = 150,000 + 300,000 nano
    assert cost("gpt-4o-mini", "openai", Usage(1_000, 500)) == Cost(450_000, TABLE)


def test_cached_tokens_are_a_cheaper_part_of_the_prompt():
    # cached 0.075.  600 × 150 + 400 × 75 + 0 = 90,000 + 30,000
    assert cost("gpt-4o-mini", "openai", Usage(1_000, 0, cached_tokens=400)).nano == 120_000


def test_cache_writes_have_their_own_rate():
    # claude-sonnet-4-5: 3 in, 15 out, 0.30 read, 3.75 written.
    # 100 × 3,000 + 600 × 300 + 300 × 3,750 + 10 × 15,000 = 300,000 + 180,000 + 1,125,000 + 150,000
    usage = Usage(1_000, 10, cached_tokens=600, cache_write_tokens=300)
    assert cost("claude-sonnet-4-5", "anthropic", usage).nano == 1_755_000


def test_a_long_prompt_is_dearer_as_a_whole():
    # claude-sonnet-4-5 above 200,000: 6 in, 22.50 out.  200,001 × 6,000 + 10 × 22,500
    assert cost("claude-sonnet-4-5", "anthropic", Usage(200_001, 10)).nano == 1_200_006_000 + 225_000
    # at 200,000 still 3 and 15:  200,000 × 3,000 + 10 × 15,000
    assert cost("claude-sonnet-4-5", "anthropic", Usage(200_000, 10)).nano == 600_000_000 + 150_000


def test_an_embedding_has_no_output():
    # text-embedding-3-small: 0.02 in.  1,234 × 20
    assert cost("text-embedding-3-small", "openai", Usage(1_234, None)).nano == 24_680
    assert cost("text-embedding-3-small", "openai", Usage(1_234, 0)).nano == 24_680


def test_reasoning_tokens_are_not_counted_twice():
    assert cost("o3", "openai", Usage(10, 100, reasoning_tokens=90)) == cost("o3", "openai", Usage(10, 100))


def test_some_models_cost_something_per_call():
    # perplexity's sonar: 1 in, 1 out, and 12 per 1,000 calls.  100 × 1,000 + 10 × 1,000 + 12,000,000
    assert cost("sonar", "perplexity", Usage(100, 10)).nano == 110_000 + 12_000_000


def test_a_price_that_changes_with_the_hour(time_machine):
    # deepseek-chat: 0.27 in by day (00:30 to 16:30 UTC), 0.135 at night
    time_machine.move_to(datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC))
    assert cost("deepseek-chat", "deepseek", Usage(1_000, 0)).nano == 270_000
    time_machine.move_to(datetime.datetime(2026, 11, 20, 20, 0, tzinfo=datetime.UTC))
    assert cost("deepseek-chat", "deepseek", Usage(1_000, 0)).nano == 135_000


def test_a_model_is_found_by_its_name_alone():
    # gpt-4o: 2.50 in, 10 out
    assert cost("gpt-4o-2024-08-06", "", Usage(1, 1)).nano == 2_500 + 10_000


@pytest.mark.parametrize(
    ("model", "provider"),
    [("smollm2", ""), ("no-such-model", "openai"), ("gpt-4o", "local"), ("mistral-7b-instruct", "local"), ("", "")],
)
def test_an_unknown_price_is_unknown_and_not_zero(model, provider):
    assert cost(model, provider, Usage(1_000, 500)) == UNKNOWN == Cost(None, "")


def test_a_local_model_with_a_well_known_name_has_no_price():
    assert cost("gpt-4o", LlamaCpp.price_provider, Usage(10, 10)) == UNKNOWN


@pytest.mark.parametrize("usage", [Usage(), Usage(10, None), Usage(None, 10)])
@pytest.mark.parametrize("override", [{}, {"input": "1", "output": "1"}])
def test_unknown_tokens_are_an_unknown_cost(usage, override):
    assert cost("gpt-4o", "openai", usage, override) == UNKNOWN


def test_an_admins_price_comes_first():
    # 0.15 and 0.60 per million:  7 × 150 + 3 × 600
    assert cost("gpt-4o", "openai", Usage(7, 3), {"input": "0.15", "output": "0.60"}) == Cost(2_850, "own price 7")
    # cached at 0.01:  3 × 150 + 4 × 10 + 3 × 600
    own = {"input": "0.15", "output": "0.60", "cache_read": "0.01"}
    assert cost("smollm2", "local", Usage(7, 3, cached_tokens=4), own).nano == 450 + 40 + 1_800


def test_free_is_a_price():
    assert cost("smollm2", "local", Usage(7, 3), {"input": "0", "output": "0"}) == Cost(0, "own price 7")


@pytest.mark.parametrize("override", [{"input": "1"}, {"output": "1"}])
def test_half_an_own_price_does_not_guess_the_other_half(override):
    assert cost("gpt-4o", "openai", Usage(7, 3), override) == UNKNOWN


@pytest.mark.parametrize(
    ("price", "tokens", "nano"),
    [
        ("0.0005", 1, 1),  # 0.5 rounds up to 1
        ("0.0004", 1, 0),  # 0.4 down
        ("0.1", 3, 300),  # where 0.1 + 0.1 + 0.1 would go wrong in binary
        ("0.000000001", 1_000_000_000, 1_000),
        ("1000000", 2_000_000, 2_000_000_000_000_000),  # two million dollars, to the nano
    ],
)
def test_sums_are_exact(price, tokens, nano):
    assert cost("m", "", Usage(tokens, 0), {"input": price, "output": "0"}).nano == nano


def test_more_cached_than_prompt_never_makes_money():
    # clamped to the prompt: 10 × 10
    assert (
        cost("m", "", Usage(10, 0, cached_tokens=99), {"input": "1", "output": "1", "cache_read": "0.01"}).nano == 100
    )


def test_the_table_is_searched_once_per_model():
    prices._listed.cache_clear()
    for _ in range(3):
        cost("gpt-4o-mini", "openai", Usage(1, 1))
    assert prices._listed.cache_info().misses == 1


@pytest.mark.parametrize(
    "override",
    [{}, {"input": "0"}, {"input": "0.15", "output": "0.60"}, {"input": "1e-3", "cache_read": "0.000000001"}],
)
def test_a_proper_own_price(override):
    check_override(override)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"input": "-1"}, "between 0"),
        ({"input": "NaN"}, "number like"),
        ({"input": "Infinity"}, "number like"),
        ({"input": "1e400"}, "between 0"),
        ({"input": "1000001"}, "between 0"),
        ({"input": "0." + "1" * 30}, "9 decimals"),
        ({"input": "1e-400"}, "9 decimals"),
        ({"input": "0." + "0" * 50}, "number like"),
        ({"input": "free"}, "number like"),
        ({"input": ""}, "number like"),
        ({"input": 0.15}, "number like"),
        ({"input": True}, "number like"),
        ({"input": None}, "number like"),
        ({"input": "1", "price": "1"}, "Unknown price 'price'"),
        (["0.15"], "input and output"),
        ("0.15", "input and output"),
    ],
)
def test_a_senseless_own_price_is_refused_with_a_sentence(override, words):
    with pytest.raises(ValueError, match=words):
        check_override(override)


# --- what the table lacks --------------------------------------------------------------------------------


def test_a_picture_costs_by_size_and_quality():
    # dall-e-3 in hd at 1024x1792: 0.12 each.  2 × 120,000,000
    drawn = Usage(0, 0, images=2, image_class="hd 1024x1792")
    assert cost("dall-e-3", "openai", drawn).nano == 240_000_000
    assert cost("dall-e-3", "openai", Usage(0, 0, images=1, image_class="standard 1024x1024")).nano == 40_000_000


def test_a_picture_of_an_unlisted_class_has_an_unknown_price():
    assert cost("dall-e-3", "openai", Usage(0, 0, images=1, image_class="hd 1x1")) == UNKNOWN


def test_a_picture_of_a_model_with_one_price():
    # imagen-3.0-fast: 0.02 each, whatever its version.  3 × 20,000,000
    found = cost("imagen-3.0-fast-generate-001", "google", Usage(0, 0, images=3))
    assert found == Cost(60_000_000, "LiteLLM price map 1.109.1, 2026-11-20")


def test_the_longest_name_that_fits_counts():
    # sd3-large-turbo 0.04, not sd3-large's 0.065
    assert cost("sd3-large-turbo", "stability", Usage(0, 0, images=1)).nano == 40_000_000


def test_search_units_and_seconds():
    # rerank-v3.5: 0.002 per search unit.  3 × 2,000,000
    assert cost("rerank-v3.5", "cohere", Usage(0, 0, search_units=3)).nano == 6_000_000
    # 0.0014 per second: 2.5 × 1,400,000
    assert cost("any", "", Usage(seconds=2.5), {"second": "0.0014"}).nano == 3_500_000


def test_search_units_that_were_not_told_leave_the_cost_unknown():
    assert cost("rerank-v3.5", "cohere", Usage(12, 0)) == UNKNOWN


def test_billed_tokens_are_charged_and_not_the_processed_ones():
    # command-r: 0.15 in, 0.60 out.  496 processed but 1 billed: 1 × 150 + 10 × 600
    usage = Usage(496, 12, billed_prompt_tokens=1, billed_completion_tokens=10)
    assert cost("command-r", "cohere", usage).nano == 150 + 6_000


def test_an_own_price_for_pictures_and_calls():
    # 0.05 per image and 0.01 per call.  2 × 50,000,000 + 10,000,000
    assert cost("any", "", Usage(0, 0, images=2), {"image": "0.05", "call": "0.01"}).nano == 110_000_000


def test_tokens_that_were_not_told_leave_the_whole_unknown():
    assert cost("any", "", Usage(None, None), {"input": "1", "call": "0.01"}) == UNKNOWN


def test_every_extra_price_is_sound():
    for models in prices_extra.table().values():
        for extra in models.values():
            assert 0 < len(extra.source) <= 60
            for name, amount in extra.amounts:
                check_override({name.partition(" ")[0]: amount})


def test_extra_prices_fill_gaps_and_hide_nothing():
    """A model that the table has learnt since is to be taken out of our own file."""
    for provider, models in prices_extra.table().items():
        for model in models:
            assert not prices._listed(model, provider), f"{provider} {model} is in the price table now"


# --- periods ---------------------------------------------------------------------------------------------


def test_an_own_price_holds_from_its_start_to_before_its_end():
    own = [OwnPrice(1, {"call": "1"}, 100, 200), OwnPrice(2, {"call": "2"}, 200, None)]

    held = [own_in_force(own, moment) for moment in (99, 100, 199.9, 200, 10**12)]

    assert [price and price.id for price in held] == [None, 1, 1, 2, 2]
