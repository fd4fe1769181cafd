"""S5: a wrong encryption key is caught before anything is served."""

import pytest
from django.core.management.base import CommandError

from connections.models import KeyCheck
from llmmesh.preparation import confirm_keys

OTHER = "another-random-value-of-quite-enough-bytes"


@pytest.fixture
def keys(settings):
    """Replace the configured encryption keys."""

    def use(*values: str) -> None:
        settings.ROOTS = {**settings.ROOTS, "MESH_ENCRYPTION_KEYS": list(values)}

    return use


@pytest.mark.django_db
def test_the_same_keys_pass_again():
    confirm_keys()

    confirm_keys()

    assert KeyCheck.objects.count() == 1


@pytest.mark.django_db
def test_a_wrong_key_is_refused_by_name_and_nothing_is_written(keys):
    confirm_keys()
    keys(OTHER)

    with pytest.raises(CommandError, match="MESH_ENCRYPTION_KEYS does not fit this database"):
        confirm_keys()

    assert KeyCheck.objects.count() == 1


@pytest.mark.django_db
def test_a_new_key_before_the_old_one_passes(keys, settings):
    confirm_keys()
    keys(OTHER, *settings.ROOTS["MESH_ENCRYPTION_KEYS"])

    confirm_keys()
