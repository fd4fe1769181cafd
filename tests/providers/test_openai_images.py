"""Pictures by OpenAI's models: each generation's sizes, qualities and names, judged by the official client's types."""

import json

import pytest
from openai.types import ImagesResponse
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from pydantic import TypeAdapter

from connections.providers.calls import Answer, Call, Mode, Target
from connections.providers.errors import ContentFiltered
from connections.providers.parameters import KNOWN
from tests.providers.conftest import GOLDEN, a_call, make
from tests.providers.test_contract import sample

pytestmark = pytest.mark.proves(kind="openai", mode="image", by="official SDK")
WHOLE = TypeAdapter(ImageGenerateParamsNonStreaming)


def sent(name, **body):
    call = Call(Mode.IMAGE, Target(name, Mode.IMAGE), {"prompt": "A fish", **body})
    outgoing = make("openai").request(call)
    assert outgoing.url == "https://api.openai.com/v1/images/generations"
    return json.loads(outgoing.body), list(map(str, call.adjusted))


@pytest.mark.parametrize("name", ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2.5-flare"])
def test_the_client_knows_our_request(name):
    given = {name: sample(Mode.IMAGE, name) for name in KNOWN[Mode.IMAGE]} | {"quality": "high", "style": "vivid"}
    given |= {"background": "opaque", "moderation": "low", "size": "1024x1024"}

    body, _ = sent(name, **given)

    WHOLE.validate_python(body)
    assert body.keys() <= {"model", *KNOWN[Mode.IMAGE], "prompt"}


@pytest.mark.parametrize(
    ("name", "size", "drawn"),
    [
        ("dall-e-3", "1536x1024", "1792x1024"),
        ("dall-e-3", "512x512", "1024x1024"),
        ("dall-e-3", "600x1800", "1024x1792"),
        ("dall-e-2", "1024x1792", "1024x1024"),
        ("dall-e-2", "300x300", "256x256"),
        ("gpt-image-1-mini", "1024x1792", "1024x1536"),
        ("gpt-image-1", "auto", "auto"),
        ("gpt-image-2", "1280x720", "1280x720"),
    ],
)
def test_the_nearest_size_is_drawn(name, size, drawn):
    body, adjusted = sent(name, size=size)

    assert body["size"] == drawn
    assert adjusted == ([] if size == drawn else [f"size set to {drawn}"])


@pytest.mark.parametrize("size", ["auto", "0x0"])
def test_a_size_that_older_models_do_not_know_is_left_to_them(size):
    body, adjusted = sent("dall-e-3", size=size)

    assert ("size" in body, adjusted) == (False, ["size dropped"])


@pytest.mark.parametrize("ratio", ["wide", "0:1", "16:9:4", "-1:2", 7])
def test_an_odd_aspect_ratio_is_dropped(ratio):
    body, adjusted = sent("gpt-image-2", aspect_ratio=ratio)

    assert ("size" in body, adjusted) == (False, ["aspect_ratio dropped"])


def test_a_size_counts_more_than_an_aspect_ratio():
    body, adjusted = sent("gpt-image-2", aspect_ratio="16:9", size="1024x1024")

    assert (body["size"], adjusted) == ("1024x1024", ["aspect_ratio dropped"])


@pytest.mark.parametrize(("name", "most"), [("dall-e-3", 1), ("dall-e-2", 10), ("gpt-image-2", 10)])
def test_more_pictures_are_more_requests(name, most):
    assert make("openai").abilities(Target(name, Mode.IMAGE)).choices == most


@pytest.mark.parametrize("name", ["image_reply", "image_reply.dall_e_3"])
def test_what_we_read_is_what_the_client_reads(name):
    answer = json.loads((GOLDEN / "openai_family" / f"{name}.json").read_text())["answer"]

    ImagesResponse.model_validate(answer)


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_refused_prompt_is_named(code):
    body = {"error": {"message": "Your request was rejected.", "type": "image_generation_user_error", "code": code}}

    error = make("openai").problem(Answer(400, {}, json.dumps(body).encode()))

    assert isinstance(error, ContentFiltered)
    assert error.for_caller.endswith("Your request was rejected.")


def test_only_newer_models_shorten_vectors():
    for name, takes in (("text-embedding-ada-002", False), ("text-embedding-3-small", True)):
        call = a_call(make("openai"), Mode.EMBEDDING, dimensions=8)
        call.target = Target(name, Mode.EMBEDDING)

        body = json.loads(make("openai").request(call).body)

        assert ("dimensions" in body) is takes
        assert list(map(str, call.adjusted)) == ([] if takes else ["dimensions dropped"])
