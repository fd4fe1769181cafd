"""Hugging Face: the router's ids, and endpoints that are known by name or speak other wires."""

import json

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer, Call, Mode, Outgoing, Reply, Target
from tests.providers.conftest import a_call, make

KIND = "huggingface_endpoint"
URL = "https://abc123.eu-west-1.aws.endpoints.huggingface.cloud"
LOOKUP = "https://api.endpoints.huggingface.cloud/v2/endpoint/acme/zephyr"


def by_name(**settings):
    return make(KIND, base_url="", name="zephyr", namespace="acme", **settings)


def status(state, url=None):
    return Answer(200, {}, json.dumps({"name": "zephyr", "status": {"state": state, "url": url}}).encode())


def test_a_price_does_not_depend_on_the_host():
    assert make("huggingface").priced_as(Target("openai/gpt-oss-120b:cheapest")) == "openai/gpt-oss-120b"


def test_the_owner_of_the_token_pays_by_default():
    assert "X-HF-Bill-To" not in make("huggingface", bill_to="").request(a_call(make("huggingface"))).headers


@pytest.mark.parametrize("answer", [[], [[]], [[0.5], [0.5]], [["x"]], {"vectors": []}, [[[0.5], [0.5, 1]]]])
def test_what_is_no_vector_for_each_text_is_a_bad_reply(answer):
    call = Call(Mode.EMBEDDING, Target("m", Mode.EMBEDDING), {"input": ["One"]})

    with pytest.raises(errors.BadReply):
        make("huggingface").reply(call, Answer(200, {}, json.dumps(answer).encode()))


def test_token_numbers_cannot_be_embedded():
    with pytest.raises(errors.RequestRefused, match="plain texts"):
        make("huggingface").request(a_call(make("huggingface"), Mode.EMBEDDING, input=[[1, 2]]))


# --- endpoints -------------------------------------------------------------------------------------------


def test_an_endpoint_known_by_name_is_looked_up_once():
    provider, call = by_name(), a_call(make(KIND))
    steps = provider.steps(call)

    assert next(steps) == Outgoing("GET", LOOKUP)
    asked = steps.send(status("running", URL))
    assert asked.url == f"{URL}/v1/chat/completions"
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, {}, b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'))
    assert isinstance(done.value.value, Reply)
    assert next(provider.steps(call)).url == f"{URL}/v1/chat/completions"


def test_a_stream_is_opened_at_the_address_that_was_looked_up():
    opening = by_name(server="tgi").opening(Call(Mode.COMPLETION, Target("m", Mode.COMPLETION), {"prompt": "Hi"}, True))

    assert next(opening).url == LOOKUP
    with pytest.raises(StopIteration) as done:
        opening.send(status("running", URL))
    assert done.value.value.url == f"{URL}/generate_stream"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("scaledToZero", errors.Overloaded, "asleep"),
        ("initializing", errors.Overloaded, "starting"),
        ("paused", errors.RequestRefused, "Resume it"),
        ("failed", errors.RequestRefused, "failed to start"),
    ],
)
def test_an_endpoint_without_address_says_why(state, error, words):
    provider = by_name()
    steps = provider.steps(a_call(make(KIND)))
    next(steps)

    with pytest.raises(error, match=words):
        steps.send(status(state))
    assert words in provider.check_problem(status(state)).message


@pytest.mark.parametrize(
    "url",
    [
        "http://abc.eu.aws.endpoints.huggingface.cloud",
        "https://evil.test",
        "https://x/?",
        "https://key@abc.eu.aws.endpoints.huggingface.cloud",
        "https://abc.eu.aws.endpoints.huggingface.cloud/../x",
    ],
)
def test_the_token_goes_to_no_address_but_hugging_faces(url):
    steps = by_name().steps(a_call(make(KIND)))
    next(steps)

    with pytest.raises(errors.BadReply):
        steps.send(status("running", url))


def test_an_endpoint_with_tei_ranks_but_does_not_chat():
    provider = make(KIND, server="tei")

    assert provider.request(a_call(make("tei"), Mode.RERANK)).url == f"{URL}/rerank"
    assert provider.check().url == f"{URL}/info"
    with pytest.raises(errors.RequestRefused, match="tei cannot"):
        provider.request(Call(Mode.CHAT, Target("m"), {"messages": []}))


def test_the_models_of_a_named_endpoint_are_asked_of_itself():
    provider = by_name(server="tgi")
    steps = provider.listing(status("running", URL))

    assert provider.check().url == LOOKUP
    assert next(steps).url == f"{URL}/info"
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, {}, b'{"model_id": "zephyr", "max_total_tokens": 2048}'))
    assert [(model.id, model.context) for model in done.value.value] == [("zephyr", 2048)]


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": ""},
        {"base_url": "", "name": "zephyr"},
        {"name": "a/b"},
        {"name": "../x"},
        {"namespace": "acme?x"},
        {"namespace": "a b"},
        {"wait_seconds": -1},
    ],
    ids=str,
)
def test_bad_names_are_refused(settings):
    with pytest.raises(ValidationError):
        make(KIND, **settings)
