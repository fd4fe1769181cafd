"""Forms made from a provider's Settings."""

from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit

import pytest
from django import forms
from django.http import QueryDict
from pydantic import AfterValidator, SecretStr

from connections.account import Account, SettingsRefused, settle
from connections.fields import LinesField
from connections.forms import ConnectionForm, SettingsForm
from connections.model_forms import OwnModelsForm
from connections.providers import registry
from connections.providers.calls import Outgoing
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import Provider
from connections.providers.fields import SecretText
from connections.providers.settings import ProviderSettings, setting
from tests.connections.accounts import CANARY, URL
from tests.providers.conftest import golden


class Place(StrEnum):
    HERE = "here"
    THERE = "there"


class Everything(Provider):
    """A provider with a setting of each sort; it is not registered, as it has no kind of its own."""

    label = "Everything"

    class Settings(ProviderSettings):
        address: str = setting("Address", target=True, placeholder="https://…", help="Where it is.")
        api_key: SecretStr = setting("API key")
        token: Annotated[SecretStr, AfterValidator(lambda value: value)] | None = setting("Token", default=None)
        certificate: SecretText = setting(
            "Certificate", default=SecretStr(""), multiline=True, placeholder="-----BEGIN"
        )
        secret_headers: dict[str, SecretStr] = setting("Secret headers", default={}, advanced=True)
        headers: dict[str, str] = setting("Headers", default={})
        regions: list[str] = setting("Regions", default=["eu"])
        style: Literal["chat", "raw"] = setting("Style", default="raw")
        place: Place = setting("Place", default=Place.HERE)
        retries: int = setting("Retries", default=2, ge=0, le=5)
        factor: float | None = setting("Factor", default=None, advanced=True)
        strict: bool = setting("Strict", default=True)

    def check(self) -> Outgoing:
        return Outgoing("GET", f"{self.settings.address}/models")


FILLED = {"settings-address": URL, "settings-api_key": CANARY, "settings-style": "chat", "settings-place": "there"}


def make(data=None, stored=None, **options) -> SettingsForm:
    def outcome(given, typed) -> Account:
        return settle(Everything, given, typed, stored=stored or {})

    return SettingsForm(Everything, outcome, data, stored=frozenset(stored or {}), **options)


def test_each_sort_of_setting_has_its_field():
    fields = make().fields

    assert {name: type(field) for name, field in fields.items()} == {
        "address": forms.CharField,
        "api_key": forms.CharField,
        "token": forms.CharField,
        "certificate": forms.CharField,
        "secret_headers": type(fields["headers"]),
        "headers": type(fields["secret_headers"]),
        "regions": LinesField,
        "style": forms.ChoiceField,
        "place": forms.ChoiceField,
        "retries": forms.IntegerField,
        "factor": forms.FloatField,
        "strict": forms.BooleanField,
    }
    assert [name for name in ("api_key", "token") if fields[name].widget.input_type != "password"] == []


def test_titles_help_and_defaults_are_the_settings_own():
    form = make()

    assert (form["address"].label, form["address"].help_text) == ("Address", "Where it is.")
    assert [value for value, _ in form.fields["style"].choices] == ["chat", "raw"]
    assert form["style"].initial == "raw"
    assert 'placeholder="https://…"' in str(form["address"])
    assert "eu</textarea>" in str(form["regions"])
    assert {field.name for field in form.advanced} == {"secret_headers", "factor"}
    assert "factor" not in {field.name for field in form.basic}


def test_a_filled_form_becomes_an_account():
    form = make(
        {
            **FILLED,
            "settings-token": "t",
            "settings-secret_headers": "X-Team: blue\n",
            "settings-headers": "X-Trace: a:b\n\nX-Other:  spaced ",
            "settings-regions": "eu\n  us \n",
            "settings-retries": "5",
        }
    )

    assert form.is_valid(), form.errors
    assert form.account.settings == {
        "address": URL,
        "headers": {"X-Trace": "a:b", "X-Other": "spaced"},
        "regions": ["eu", "us"],
        "style": "chat",
        "place": "there",
        "retries": 5,
        "factor": None,
        "strict": False,
    }
    assert form.account.secrets == {"api_key": CANARY, "token": "t", "secret_headers": {"X-Team": "blue"}}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("address", "https://10.0.0.1"),
        ("address", ""),
        ("api_key", ""),
        ("api_key", "two\nlines"),
        ("certificate", "be\x07ll"),
        ("certificate", "zero\u200bwidth"),
        ("certificate", "k" * (64 * 1024 + 1)),
        ("secret_headers", "no colon"),
        ("secret_headers", "X-Team: be\x07ll"),
        ("headers", "no colon"),
        ("style", "neither"),
        ("retries", "6"),
        ("retries", "many"),
        ("factor", "nan?"),
    ],
)
def test_a_mistake_is_told_beside_its_field(field, text):
    form = make({**FILLED, f"settings-{field}": text})

    assert list(form.errors) == [field]
    assert CANARY not in str(form)


def test_no_secret_is_ever_put_back_into_the_page():
    form = make({**FILLED, "settings-address": "nonsense", "settings-secret_headers": f"X-Team: {CANARY}"})

    assert not form.is_valid()
    assert CANARY not in str(form)


def test_a_stored_secret_is_kept_replaced_or_removed():
    stored = {"api_key": CANARY, "token": "old"}
    blank = {**FILLED, "settings-api_key": ""}

    kept = make(blank, stored)
    assert kept.is_valid() and kept.account.secrets == stored
    replaced = make({**blank, "settings-token": "new"}, stored)
    assert replaced.is_valid() and replaced.account.secrets["token"] == "new"
    removed = make({**blank, "settings-remove-token": "on"}, stored)
    assert removed.is_valid() and removed.account.secrets == {"api_key": CANARY}
    assert "remove-api_key" not in removed.fields


def test_a_secret_of_many_lines_is_typed_into_a_text_area_that_shows_nothing_again():
    lines = f"-----BEGIN\r\n\t{CANARY}\r\n-----END\r\n"
    form = make({**FILLED, "settings-certificate": lines, "settings-address": "nonsense"})

    assert not form.is_valid()
    assert "<textarea" in str(form["certificate"]) and 'placeholder="-----BEGIN"' in str(form["certificate"])
    assert CANARY not in str(form)
    form = make({**FILLED, "settings-certificate": lines})
    assert form.is_valid()
    assert form.account.secrets["certificate"] == f"-----BEGIN\n\t{CANARY}\n-----END"


def test_a_kept_secret_is_said_to_be_kept():
    assert 'placeholder="•••• kept"' in str(make(stored={"api_key": CANARY})["api_key"])
    assert CANARY not in str(make(stored={"api_key": CANARY}))


def test_a_changed_address_demands_every_stored_secret():
    stored = {"api_key": CANARY, "secret_headers": {"X-Team": "blue"}}

    with pytest.raises(SettingsRefused) as refusal:
        settle(Everything, {"address": URL}, {}, stored=stored, sent_to={"address": "https://old.example.com"})

    assert set(refusal.value.message_dict) == set(stored)


@pytest.mark.parametrize("kind", registry.providers())
def test_every_provider_has_a_form_without_its_name_in_our_code(kind):
    provider = registry.providers()[kind]
    form = SettingsForm(provider, lambda given, typed: settle(provider, given, typed))

    assert set(form.fields) == set(provider.Settings.model_fields)
    assert [name for name in form.fields if not form[name].label] == []
    for name in provider.Settings.secret_names():
        assert 'type="password"' in str(form[name]) or "<textarea" in str(form[name])


@pytest.mark.parametrize("kind", registry.providers())
def test_every_provider_checks_the_address_it_sends_secrets_to(kind, settings):
    provider, filled = registry.providers()[kind], golden(kind, "settings.json")
    secret = {name: filled.pop(name) for name in provider.Settings.secret_names() if name in filled}
    settings.PRIVATE_ADDRESSES = [urlsplit(str(value)).hostname or "" for value in filled.values()]
    if not provider.Settings.target_names() and not provider.Settings.secret_names():
        return  # it has nothing to send, and nowhere to send it
    assert provider.Settings.target_names()

    for name in provider.Settings.target_names():
        with pytest.raises(SettingsRefused) as refusal:
            settle(provider, {**filled, name: "https://169.254.169.254/latest"}, secret)
        assert name in refusal.value.message_dict


@pytest.mark.parametrize(
    "line",
    [
        "Host: evil.example.com",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Authorization: Bearer x",
        "two words: x",
        "X-Bad: be\x07ll",
        "no colon",
    ],
)
def test_a_header_that_is_ours_or_none_is_refused(line):
    """Bad input 122, for every provider that takes headers of one's own."""
    taking = [kind for kind in registry.providers().values() if "extra_headers" in kind.Settings.model_fields]
    assert taking
    for kind in taking:
        filled = golden(kind.kind, "settings.json")
        secret = {name: filled.pop(name) for name in kind.Settings.secret_names() if name in filled}
        name, _, value = line.partition(": ")
        with pytest.raises(SettingsRefused) as refusal:
            settle(kind, {**filled, "extra_headers": {name: value} if value else line}, secret)
        assert list(refusal.value.message_dict) == ["extra_headers"]


@pytest.mark.parametrize(
    ("field", "text"),
    [("check_every", "0"), ("slow_after_ms", "-1"), ("ca_certificate", "x"), ("extra_parameters", "a b")],
)
def test_a_bad_option_is_told_beside_its_field(db, field, text):
    form = ConnectionForm({"name": "Main", "check_every": "60", "slow_after_ms": "2000", "retries": "2", field: text})

    assert list(form.errors) == [field]


def test_own_model_ids_are_checked_line_by_line():
    assert OwnModelsForm(OpenAICompatible, QueryDict("upstream_ids=a%0Aa%0Ab&mode=chat")).is_valid()
    form = OwnModelsForm(OpenAICompatible, {"upstream_ids": "fine\n" + "x" * 301, "mode": "chat"})
    assert list(form.errors) == ["upstream_ids"]
