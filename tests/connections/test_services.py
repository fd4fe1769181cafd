"""Acts on connections: what is stored, refused and written down."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from cryptography.hazmat.primitives import serialization
from django import db
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from access import keys
from access.models import AuditEvent
from access.roles import Scope
from connections import services
from connections.account import SettingsRefused, settle
from connections.models import Connection, Grant, Model, State
from connections.providers import registry
from connections.services import ModelChoice
from tests.connections.accounts import BAD_NAMES, BAD_URLS, CANARY, STRANGE_NAMES, URL, account, connect
from tests.connections.test_transport import Authority

OPENAI = registry.providers()["openai"]


def update(actor, connection, **changes):
    return services.update_connection(actor, connection, revision=connection.revision, **changes)


def test_a_connection_is_stored_with_its_secret_sealed(ada):
    connection = connect(ada, "OpenAI production")

    row = Connection.objects.get()
    assert (row.slug, row.settings["base_url"]) == ("openai-production", URL)
    assert CANARY.encode() not in bytes(row.sealed)
    assert row.credential()["api_key"] == CANARY
    assert connection.provider().settings.api_key.get_secret_value() == CANARY


def test_creation_is_audited_with_the_names_of_secrets_only(ada):
    connect(ada)

    event = AuditEvent.objects.get(action="connection.created")
    assert event.actor == ada
    assert event.after["secrets_changed"] == ["api_key"]
    assert CANARY not in json.dumps([event.before, event.after])


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_address_we_would_not_call_is_refused(url):
    with pytest.raises(SettingsRefused) as refusal:
        settle(OPENAI, {"base_url": url}, {"api_key": CANARY})

    assert "base_url" in refusal.value.message_dict


@pytest.mark.parametrize("settings", [{"nonsense": "x"}, {"api_key": CANARY}])
def test_settings_that_do_not_exist_or_are_secrets_are_refused(settings):
    with pytest.raises(SettingsRefused) as refusal:
        settle(OPENAI, settings, {"api_key": CANARY})

    assert list(refusal.value.message_dict) == list(settings)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize("secret", ["two\nlines", "x" * 1_000_000, "nul\x00", "🔑 of a door"])
def test_a_secret_that_cannot_be_one_is_refused_without_being_repeated(secret):
    with pytest.raises(SettingsRefused) as refusal:
        settle(OPENAI, {}, {"api_key": secret})

    assert "api_key" in refusal.value.message_dict
    assert secret not in str(refusal.value)


def test_outer_spaces_of_a_secret_are_dropped():
    assert settle(OPENAI, {}, {"api_key": f"  {CANARY} \n"}).secrets == {"api_key": CANARY}


@pytest.mark.parametrize("literal", ["$HOME", "os.environ/PATH", "file:///etc/passwd", "${env:KEY}"])
def test_typed_text_is_never_resolved(literal):
    assert settle(OPENAI, {}, {"api_key": literal}).secrets == {"api_key": literal}


def test_a_blank_secret_keeps_the_stored_one(ada):
    connection = connect(ada)

    update(ada, connection, settings={"base_url": URL, "project": "p1"}, typed={"api_key": ""})

    row = Connection.objects.get()
    assert row.settings["project"] == "p1"
    assert row.credential()["api_key"] == CANARY


def test_a_changed_address_demands_the_secret_again(ada):
    connection = connect(ada)

    with pytest.raises(SettingsRefused) as refusal:
        update(ada, connection, settings={"base_url": "https://evil.example.com/v1"}, typed={"api_key": ""})

    assert refusal.value.message_dict == {"api_key": ["Type the API key again: the address it is sent to has changed."]}
    row = Connection.objects.get()
    assert (row.settings["base_url"], row.revision) == (URL, connection.revision)


def test_a_changed_address_with_the_secret_typed_again_is_taken(ada):
    connection = connect(ada)

    update(ada, connection, settings={"base_url": "https://other.example.com/v1"}, typed={"api_key": "sk-new"})

    assert Connection.objects.get().credential()["api_key"] == "sk-new"


def test_a_change_is_audited_with_what_differs(ada):
    connection = connect(ada)

    update(ada, connection, options={"check_every": 120}, typed={"api_key": "sk-new"})

    event = AuditEvent.objects.get(action="connection.changed")
    assert event.before == {"check_every": 60}
    assert event.after == {"check_every": 120, "secrets_changed": ["api_key"]}


def test_the_second_of_two_admins_is_told_and_changes_nothing(ada):
    opened_twice = connect(ada)
    update(ada, opened_twice, options={"check_every": 120})

    with pytest.raises(services.Conflict):
        update(ada, opened_twice, options={"check_every": 300})

    assert Connection.objects.get().check_every == 120


@pytest.mark.django_db(transaction=True)
def test_of_admins_who_save_at_once_one_wins(ada):
    opened_by_all = connect(ada)
    begin = Barrier(4)

    def save(seconds: int) -> str:
        begin.wait()
        try:
            update(ada, opened_by_all, options={"check_every": seconds})
        except services.Conflict:
            return "conflict"
        finally:
            db.connection.close()
        return "saved"

    with ThreadPoolExecutor(4) as admins:
        outcomes = sorted(admins.map(save, [100, 200, 300, 400]))

    assert outcomes == ["conflict", "conflict", "conflict", "saved"]
    assert AuditEvent.objects.filter(action="connection.changed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_admins_who_use_one_name_at_once_one_wins(ada):
    begin = Barrier(4)

    def create(name: str) -> str:
        begin.wait()
        try:
            connect(ada, name)
        except ValidationError as refusal:
            return str(refusal.message_dict)
        finally:
            db.connection.close()
        return "saved"

    with ThreadPoolExecutor(4) as admins:
        outcomes = sorted(admins.map(create, ["Main", "MAIN", "main", "mAIN"]))

    assert outcomes == ["saved", *["{'name': ['Another connection has this name.']}"] * 3]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(ada, name):
    with pytest.raises(ValidationError) as refusal:
        connect(ada, name)

    assert list(refusal.value.message_dict) == ["name"]
    assert not Connection.objects.exists()


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_a_strange_name_is_only_text(ada, name):
    connect(ada, name)

    assert Connection.objects.get().name == name


@pytest.mark.parametrize("other", ["main office", "MAIN OFFICE", "Ｍain Office", "Main  Office", " Main Office "])
def test_a_name_exists_once_whatever_its_case_or_unicode_form(ada, other):
    connect(ada, "Main Office")
    second = connect(ada, "Second")

    with pytest.raises(ValidationError):
        connect(ada, other)
    with pytest.raises(ValidationError):
        update(ada, second, options={"name": other})


def test_a_new_name_keeps_the_slug_that_callers_use(ada):
    connection = connect(ada, "Old name", models=[ModelChoice("gpt-4o")])

    update(ada, connection, options={"name": "New name"})

    assert Connection.objects.get().slug == "old-name"
    assert Model.objects.get().public_id == "old-name/gpt-4o"


def test_names_with_the_same_letters_get_different_slugs(ada):
    assert [connect(ada, name).slug for name in ("A b", "A-b", "日本", "中国")] == [
        "a-b",
        "a-b-2",
        "connection",
        "connection-2",
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("check_every", 1),
        ("check_every", 10**6),
        ("slow_after_ms", 0),
        ("ca_certificate", "not a certificate"),
        ("extra_parameters", ["fine", "not fine"]),
        ("extra_parameters", ["x" * 65]),
        ("sealed", b""),
    ],
)
def test_a_bad_option_is_refused(ada, option, value):
    with pytest.raises(ValidationError) as refusal:
        services.create_connection(ada, account(), {"name": "Main", option: value})

    assert list(refusal.value.message_dict) == [option]


def test_a_private_key_is_not_kept_among_certificates(ada):
    authority = Authority()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = authority.pem + authority.key.private_bytes(*form).decode()

    with pytest.raises(ValidationError) as refusal:
        services.create_connection(ada, account(), {"name": "Main", "ca_certificate": pem})

    assert list(refusal.value.message_dict) == ["ca_certificate"]


def test_pausing_and_resuming_are_audited_once_each(ada):
    connection = connect(ada)

    assert services.set_paused(ada, connection, True).paused
    services.set_paused(ada, connection, True)
    assert not services.set_paused(ada, connection, False).paused

    actions = AuditEvent.objects.filter(action__in=["connection.paused", "connection.resumed"])
    assert sorted(actions.values_list("action", flat=True)) == ["connection.paused", "connection.resumed"]


def test_deleting_takes_models_and_grants_along_and_is_audited(ada, analysts):
    connection = connect(ada, models=[ModelChoice("gpt-4o")], groups=[analysts])

    services.delete_connection(ada, connection)

    assert not Model.objects.exists()
    assert not Grant.objects.exists()
    assert AuditEvent.objects.get(action="connection.deleted").before["name"] == "Main"


def test_consequences_name_groups_and_keys(ada, analysts):
    connection = connect(ada, models=[ModelChoice("gpt-4o")], groups=[analysts])
    keys.issue(ada, "uses it", scopes=[Scope.GENERATE], allowed_models=["main/gpt-4o"])
    keys.issue(ada, "uses another", scopes=[Scope.GENERATE], allowed_models=["other/gpt-4o"])

    found = services.consequences(connection)

    assert (found.models, found.groups, found.keys) == (1, ["Analysts"], ["uses it"])


def test_models_are_named_after_the_slug(ada):
    connection = connect(ada)
    choices = [
        ModelChoice("gpt-4o"),
        ModelChoice("gpt-4o", "embedding"),
        ModelChoice("arn:aws:bedrock:eu/x y", name=""),
        ModelChoice("ft:123", name="my tune"),
    ]

    added = services.add_models(ada, connection, choices)

    assert [model.public_id for model in added] == [
        "main/gpt-4o",
        "main/gpt-4o-embedding",
        "main/arn:aws:bedrock:eu/x-y",
        "main/my-tune",
    ]


def test_a_model_is_added_once(ada):
    connection = connect(ada, models=[ModelChoice("gpt-4o")])

    assert services.add_models(ada, connection, [ModelChoice("gpt-4o"), ModelChoice("new"), ModelChoice("new")]) != []
    assert Model.objects.count() == 2


@pytest.mark.parametrize(
    "choice",
    [
        ModelChoice(""),
        ModelChoice("  "),
        ModelChoice("x" * 301),
        ModelChoice("line\nbreak"),
        ModelChoice("nul\0"),
        ModelChoice("fine", "telepathy"),
        ModelChoice("fine", name="x" * 301),
    ],
)
def test_a_bad_model_is_refused(ada, choice):
    connection = connect(ada)

    with pytest.raises(ValidationError):
        services.add_models(ada, connection, [choice])


def test_many_models_are_switched_at_once(ada):
    connection = connect(ada, models=[ModelChoice("a"), ModelChoice("b")])

    assert services.enable_models(ada, connection, connection.models.all(), False) == 2
    assert services.enable_models(ada, connection, connection.models.all(), False) == 0

    assert AuditEvent.objects.get(action="models.disabled").after == {"models": ["main/a", "main/b"]}


def test_granting_decides_what_a_user_may_use(ada, alice, analysts):
    connection = connect(ada, models=[ModelChoice("a"), ModelChoice("b")])
    first = connection.models.get(upstream_id="a")

    services.grant(ada, analysts, connection, first)
    assert [model.upstream_id for model in Model.objects.usable_by(alice.principal)] == ["a"]

    services.set_groups(ada, connection, [analysts])
    assert Model.objects.usable_by(alice.principal).count() == 2

    services.set_groups(ada, connection, [])
    assert [model.upstream_id for model in Model.objects.usable_by(alice.principal)] == ["a"]


def test_a_model_of_another_connection_cannot_be_granted(ada, analysts):
    connection = connect(ada)
    other = connect(ada, "Other", models=[ModelChoice("a")])

    with pytest.raises(ValidationError):
        services.grant(ada, analysts, connection, other.models.get())


def test_granting_twice_changes_and_records_nothing(ada):
    group = Group.objects.create(name="G")
    connection = connect(ada, groups=[group])

    services.grant(ada, group, connection)

    assert AuditEvent.objects.filter(action="grant.added").count() == 1


def test_a_credential_that_does_not_open_marks_the_connection_failing(ada):
    connection = connect(ada)
    Connection.objects.update(sealed=bytes(connection.sealed)[:-1] + b"x")
    broken = Connection.objects.get()

    for _ in range(2):
        with pytest.raises(services.Unusable):
            services.provider_of(broken)

    broken.refresh_from_db()
    assert (broken.state, broken.cause) == (State.FAILING, "The stored credential cannot be decrypted. Enter it again.")
    assert AuditEvent.objects.filter(action="credential.unreadable").count() == 1


def test_a_new_secret_mends_a_credential_that_does_not_open(ada):
    connection = connect(ada)
    Connection.objects.update(sealed=b"\x09broken")
    broken = Connection.objects.get()

    with pytest.raises(SettingsRefused):
        update(ada, broken, settings={"base_url": URL})
    update(ada, broken, settings={"base_url": URL}, typed={"api_key": CANARY})

    assert Connection.objects.get(pk=connection.pk).credential()["api_key"] == CANARY
