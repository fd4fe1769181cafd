"""S5: what a process is told from outside is read strictly."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from llmmesh.environment import (
    OPTIONS,
    ROOT_SECRETS,
    broker_url,
    create_missing_secrets,
    read_roots,
    refuse_too_little,
    refuse_unknown,
    secret_path,
)


@pytest.fixture
def folder(tmp_path):
    create_missing_secrets(tmp_path, {})
    return tmp_path


def test_the_files_that_were_made_are_enough(folder):
    roots = read_roots(folder, {})

    assert set(roots) == set(ROOT_SECRETS)
    assert len({value for values in roots.values() for value in values}) == len(ROOT_SECRETS)


def test_the_files_are_for_their_owner_alone_and_stay_as_they_are(folder):
    before = {name: secret_path(folder, name).read_text() for name in ROOT_SECRETS}

    assert create_missing_secrets(folder, {}) == []

    assert {name: secret_path(folder, name).read_text() for name in ROOT_SECRETS} == before
    assert all(secret_path(folder, name).stat().st_mode & 0o777 == 0o600 for name in ROOT_SECRETS)
    assert secret_path(folder, ROOT_SECRETS[0]).parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ROOT_SECRETS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "at least 32 bytes"),
        ("x" * 31, "at least 32 bytes"),
        ("change-me-change-me-change-me-change-me", "example value"),
        ("django-insecure-0123456789-0123456789-0123456789", "example value"),
    ],
)
def test_a_weak_secret_is_refused_by_name(folder, name, value, said):
    with pytest.raises(ImproperlyConfigured, match=f"{name}.*{said}"):
        read_roots(folder, {name: value})


@pytest.mark.parametrize("name", ROOT_SECRETS)
def test_a_missing_secret_is_refused_by_name(folder, name):
    secret_path(folder, name).unlink()

    with pytest.raises(ImproperlyConfigured, match=f"{name} is not set"):
        read_roots(folder, {})


def test_one_secret_for_two_purposes_is_refused(folder):
    shared = "a-random-value-of-quite-enough-bytes"

    with pytest.raises(ImproperlyConfigured, match="MESH_AUDIT_KEY repeats a value of MESH_KEY_PEPPER"):
        read_roots(folder, {"MESH_KEY_PEPPER": shared, "MESH_AUDIT_KEY": shared})


def test_a_list_of_encryption_keys_is_checked_one_by_one(folder):
    good = "a-random-value-of-quite-enough-bytes"

    assert read_roots(folder, {"MESH_ENCRYPTION_KEYS": f"{good}1, {good}2"})["MESH_ENCRYPTION_KEYS"] == [
        f"{good}1",
        f"{good}2",
    ]
    with pytest.raises(ImproperlyConfigured, match="MESH_ENCRYPTION_KEYS must have at least"):
        read_roots(folder, {"MESH_ENCRYPTION_KEYS": f"{good},short"})


def test_a_secret_may_come_from_a_named_file(folder, tmp_path):
    (tmp_path / "pepper").write_text("a-random-value-of-quite-enough-bytes\n")

    roots = read_roots(folder, {"MESH_KEY_PEPPER_FILE": str(tmp_path / "pepper")})

    assert roots["MESH_KEY_PEPPER"] == ["a-random-value-of-quite-enough-bytes"]


def test_a_misspelt_name_is_refused_and_named():
    with pytest.raises(ImproperlyConfigured, match="Unknown setting MESH_PRIVATE_ADRESSES"):
        refuse_unknown({"MESH_PRIVATE_ADRESSES": "10.0.0.0/8"})


@pytest.mark.parametrize("name", [*OPTIONS, *ROOT_SECRETS, "MESH_SECRET_KEY_FILE"])
def test_a_known_name_passes(name):
    refuse_unknown({name: "anything"})


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_number_that_makes_no_sense_is_refused_by_name(value):
    refuse_too_little(1, MESH_MAX_PAGES=1)
    with pytest.raises(ImproperlyConfigured, match="MESH_MAX_CALLS must be at least 1; it is"):
        refuse_too_little(1, MESH_MAX_PAGES=1, MESH_MAX_CALLS=value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("redis://valkey:6379/0", "redis://valkey:6379/0"),
        ("unix:///data/run/valkey.sock", "redis+socket:///data/run/valkey.sock"),
        ("unix:///data/run/valkey.sock?db=2", "redis+socket:///data/run/valkey.sock?virtual_host=2"),
    ],
)
def test_the_broker_is_the_same_server_in_celerys_spelling(given, expected):
    assert broker_url(given) == expected
