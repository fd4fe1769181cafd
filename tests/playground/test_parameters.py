"""The settings form: what each model takes, and what becomes of it in the request."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from connections.models import Model
from playground import asking
from playground.answering import shortened
from playground.forms import AskForm, SettingsForm
from playground.models import Conversation

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


@pytest.fixture
def form(alice, chat):
    """`form(temperature="0.5")` is the filled-in settings form."""

    def make(**fields) -> SettingsForm:
        return SettingsForm({"model": "openai/gpt-4o-mini", **fields}, user=alice)

    return make


def test_blank_fields_are_left_to_the_provider(form):
    filled = form(temperature="", top_p="", stop="", response_format="")

    assert filled.is_valid(), filled.errors
    assert asking.body(Conversation(), filled, draft="Hi") == {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_what_is_filled_in_is_sent_zero_included(form):
    filled = form(temperature="0", max_tokens="64", seed="7", stop="END\nSTOP HERE\n", stream="on", system="Be brief.")

    assert filled.is_valid(), filled.errors
    body = asking.body(Conversation(), filled, draft="Hi")
    assert body.pop("messages")[0] == {"role": "system", "content": "Be brief."}
    assert body == {
        "model": "openai/gpt-4o-mini",
        "temperature": 0.0,
        "max_tokens": 64,
        "seed": 7,
        "stop": ["END", "STOP HERE"],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "2.1"),
        ("temperature", "warm"),
        ("temperature", "nan"),
        ("top_p", "-0.1"),
        ("max_tokens", "0"),
        ("max_tokens", "1.5"),
        ("seed", str(2**63)),
        ("response_format", "xml"),
        ("system", "a\0b"),
    ],
)
def test_values_beyond_the_range_are_refused(form, name, value):
    filled = form(**{name: value})

    assert not filled.is_valid()
    assert name in filled.errors


def test_a_schema_becomes_the_response_format(form):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    filled = form(response_format="json_schema", schema=json.dumps(schema))

    assert filled.is_valid(), filled.errors
    assert filled.parameters["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize("schema", ["", "{", '{"type": "city"}', "[" * 100_000, "null"])
def test_a_schema_that_is_none_is_refused(form, schema):
    filled = form(response_format="json_schema", schema=schema)

    assert not filled.is_valid()
    assert "schema" in filled.errors


def test_each_model_shows_what_it_takes_and_names_the_rest(alice, analysts, chat, connect):
    connect("llamacpp", group=analysts)

    hosted = SettingsForm(initial={"model": "openai/gpt-4o-mini"}, user=alice)
    local = SettingsForm(initial={"model": "llamacpp/smollm2"}, user=alice)

    assert "top_k" in hosted.refused and "top_k" not in hosted.fields
    assert "top_k" in local.fields and "top_k" not in local.refused


def test_the_page_says_which_parameters_are_not_taken(client, alice, chat):
    client.force_login(alice)

    page = client.get("/playground/").content.decode()

    assert "<code>top_k</code>" in page
    assert "not taken by gpt-4o-mini." in page


def test_a_picture_becomes_a_data_url_for_a_model_that_sees(alice, chat, rf):
    Model.objects.update(capabilities=["vision"])

    filled = picture_form(alice, "cat.png", PNG)

    assert filled.is_valid(), filled.errors
    assert filled.cleaned_data["image"].startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "Only PNG"),
        (b"GIF", "Only PNG"),
        (PNG + b"0" * 4 * 2**20, "larger than 4 MB"),
    ],
)
def test_other_files_are_refused_whatever_their_name(alice, chat, content, why):
    Model.objects.update(capabilities=["vision"])

    assert why in str(picture_form(alice, "cat.png", content).errors["image"])


def test_a_model_that_does_not_see_gets_no_picture(alice, chat):
    assert "does not take pictures" in str(picture_form(alice, "cat.png", PNG).errors["image"])


def picture_form(user, name, content) -> AskForm:
    data = {"model": "openai/gpt-4o-mini", "text": "What is this?"}
    return AskForm(data, {"image": SimpleUploadedFile(name, content)}, user=user)


def test_only_the_data_of_pictures_is_shown_short():
    long = "漢字" * 5_000

    assert shortened({"text": long, "list": ["a" * 1_999]}) == {"text": long, "list": ["a" * 1_999]}
    assert len(shortened(["data:image/png;base64," + "A" * 100_000])[0]) < 200
