"""Pictures that are only pointed to: fetched for those who do not, from nowhere private, and never too much."""

import base64
import json

import pytest

from connections import remote_images
from connections.exchange import Exchange
from connections.providers.calls import Call, Mode, Target
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import Abilities
from connections.providers.errors import RequestRefused
from connections.transport import DEFAULT_OPTIONS, DEFAULT_TIMEOUTS, Transport
from tests.streamed import chunks_of
from tests.upstream.faults import Fault
from tests.upstream.openai import DOT

PICTURE = base64.b64decode(DOT)
LOOPBACK = ["127.0.0.0/8"]


class Blind(OpenAICompatible):
    """Does not follow addresses."""

    def abilities(self, target):
        return Abilities(image_urls=False)


@pytest.fixture
async def asking(upstream, settings):
    """`asking(Blind, allowed=[…])` gives the way to ask; pictures may come from what is allowed."""
    settings.PICTURE_ADDRESSES = LOOPBACK
    async with Transport() as transport:

        def make(kind=Blind):
            provider = kind(kind.Settings(base_url=upstream.url("compatible"), api_key=upstream.key))
            return Exchange(transport, provider, DEFAULT_OPTIONS, DEFAULT_TIMEOUTS)

        yield make


def picture(body=PICTURE, kind="image/png", status=200):
    return Fault.body(body, kind, status)


def showing(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    messages = [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": [{"type": "text", "text": "What?"}, *parts]},
    ]
    return Call(Mode.CHAT, Target("local"), {"messages": messages})


def url(upstream, name="fish"):
    return f"http://127.0.0.1:{upstream.port}/{name}.png"


async def test_the_picture_is_sent_along(asking, upstream):
    upstream.script(picture())
    asked = showing(url(upstream), "data:image/gif;base64,R0lGODlh", url(upstream))

    await asking().ask(asked)

    fetch, sent = upstream.requests
    assert (fetch.method, fetch.path) == ("GET", "/fish.png")
    assert not {"authorization", "x-api-key", "cookie"} & set(fetch.headers)
    parts = sent.json["messages"][1]["content"]
    fetched = {"url": f"data:image/png;base64,{DOT}", "detail": "low"}
    assert [part["image_url"] for part in parts[1:]] == [
        fetched,
        {"url": "data:image/gif;base64,R0lGODlh", "detail": "low"},
        fetched,
    ]
    assert sent.json["messages"][0] == {"role": "system", "content": "Look."}
    assert list(map(str, asked.adjusted)) == ["image_url fetched and sent along"]


async def test_it_is_fetched_once_for_all_choices(asking, upstream):
    class OneChoice(Blind):
        def abilities(self, target):
            return Abilities(image_urls=False, choices=1)

    upstream.script(picture())
    asked = showing(url(upstream))
    asked.body["n"] = 3

    await asking(OneChoice).ask(asked)

    assert [request.method for request in upstream.requests] == ["GET", "POST", "POST", "POST"]


async def test_who_fetches_pictures_gets_the_address(asking, upstream):
    asked = showing("https://pictures.test/fish.png")

    await asking(OpenAICompatible).ask(asked)

    [sent] = upstream.requests
    assert sent.json["messages"] == asked.body["messages"]


async def test_streams_send_it_along_too(asking, upstream):
    upstream.script(picture())
    asked = showing(url(upstream))
    asked.stream = True

    async with asking().stream(asked) as stream:
        assert await chunks_of(stream)

    assert upstream.requests[1].json["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (picture(b"<html>", "text/html"), "holds none"),
        (picture(b"<svg/>", "image/svg+xml"), "holds none"),
        (picture(b"", "image/png", 404), "holds none"),
        (Fault.redirect("http://169.254.169.254/"), "holds none"),
        (Fault.hang_up(), "could not be fetched"),
    ],
    ids=["html", "svg", "absent", "redirect", "dead"],
)
async def test_what_is_no_picture_is_refused(asking, upstream, answer, sentence):
    upstream.script(answer)

    with pytest.raises(RequestRefused, match=sentence):
        await asking().ask(showing(url(upstream)))

    assert [request.method for request in upstream.requests] == ["GET"]


async def test_pictures_that_are_too_large_are_refused(asking, upstream, monkeypatch):
    monkeypatch.setattr(remote_images, "MAX_BYTES", 100)
    upstream.always(picture(PICTURE))

    with pytest.raises(RequestRefused, match="more than 100 bytes together"):
        await asking().ask(showing(url(upstream), url(upstream, "bird")))

    upstream.always(picture(PICTURE * 2))
    with pytest.raises(RequestRefused, match="larger than 100 bytes"):
        await asking().ask(showing(url(upstream)))


async def test_too_many_pictures_are_refused(asking, upstream):
    urls = [url(upstream, f"fish-{number}") for number in range(remote_images.MAX_IMAGES + 1)]

    with pytest.raises(RequestRefused, match="more than 20 pictures"):
        await asking().ask(showing(*urls))

    assert upstream.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "http://pictures.example/fish.png",
        "https://10.0.0.7/fish.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/fish.png",
        "https://user:secret@pictures.example/fish.png",
        "file:///etc/passwd",
        "gs://bucket/fish.png",
        "fish.png",
    ],
)
async def test_addresses_that_nobody_may_fetch_are_refused(asking, upstream, address):
    with pytest.raises(RequestRefused, match="not allowed"):
        await asking().ask(showing(address))

    assert upstream.requests == []


async def test_what_connections_may_reach_is_not_for_callers(asking, upstream, settings):
    """The provider itself is on loopback, which this deployment allows to connections."""
    settings.PICTURE_ADDRESSES = []

    with pytest.raises(RequestRefused, match="not allowed"):
        await asking().ask(showing(url(upstream)))

    assert upstream.requests == []


# --- pictures in answers


def drawing(wanted):
    return Call(Mode.IMAGE, Target("local", Mode.IMAGE), {"prompt": "A fish", "n": 2, "response_format": wanted})


async def test_a_picture_that_lies_elsewhere_is_fetched_for_who_wants_it_whole(asking, upstream):
    upstream.script(Fault.answer(text=url(upstream)), picture(), picture())
    asked = drawing("b64_json")

    reply = await asking().ask(asked)

    assert [item["b64_json"] for item in json.loads(reply.body)["data"]] == [DOT, DOT]
    assert asked.adjusted == []


async def test_a_picture_that_cannot_be_fetched_stays_where_it_is(asking, upstream):
    upstream.script(Fault.answer(text="https://10.1.2.3/fish.png"))
    asked = drawing("b64_json")

    reply = await asking().ask(asked)

    assert [item["url"] for item in json.loads(reply.body)["data"]] == ["https://10.1.2.3/fish.png"] * 2
    assert list(map(str, asked.adjusted)) == ["response_format answered as url: the picture could not be fetched"]


async def test_addresses_are_left_to_who_wants_addresses(asking, upstream):
    upstream.script(Fault.answer(text="https://pictures.test/fish.png"))

    await asking().ask(drawing("url"))

    assert len(upstream.requests) == 1
