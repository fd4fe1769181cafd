"""Fixtures that every test may use. `alice` owns, `bob` shares, `charlie` is a stranger, `ada` is the admin."""

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password
from django.contrib.auth.models import Group
from django.test.utils import setup_databases, teardown_databases
from hypothesis import settings
from pytest_django.plugin import blocking_manager_key

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope

pytest_plugins = ["tests.upstream.fixtures", "tests.mesh", "tests.away", "tests.workers", "tests.skips", "tests.local"]
pytest_plugins += ["tests.chaos.verdicts"]

PASSWORD = "correct horse battery staple"

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

# a fifth of a second each, by design; here thousands of passwords are hashed
Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost, Argon2PasswordHasher.parallelism = 1, 8, 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files that ask for more time begin first, or one process would end with them while the other stands idle."""
    slow = {item.path for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_modify_db_settings, django_db_keepdb, django_db_blocker):
    """The test database. The plugin's own fixture makes none when only module-wide fixtures need it."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=django_db_keepdb, serialized_aliases=[])
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0, keepdb=django_db_keepdb)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """A transactional test empties all tables; the group that the migrations made comes back for the next test."""
    result = yield
    marker = item.get_closest_marker("django_db")
    transactional = "transactional_db" in item.fixturenames or (marker and marker.kwargs.get("transaction"))
    if transactional and nextitem is not None:  # after the last one the database itself is gone
        with item.config.stash[blocking_manager_key].unblock():
            Group.objects.get_or_create(name=EVERYONE)
    return result


def make_user(username: str, role: str = Role.ANALYST) -> User:
    password = make_password(PASSWORD)
    return User.objects.create(username=username, email=f"{username}@example.test", password=password, role=role)


@pytest.fixture
def ada(db) -> User:
    return make_user("ada", Role.ADMIN)


@pytest.fixture
def olga(db) -> User:
    """The operator."""
    return make_user("olga", Role.OPERATOR)


@pytest.fixture
def oscar(db) -> User:
    """The auditor."""
    return make_user("oscar", Role.AUDITOR)


@pytest.fixture
def analysts(db) -> Group:
    return Group.objects.create(name="Analysts")


@pytest.fixture
def alice(analysts) -> User:
    user = make_user("alice")
    user.groups.add(analysts)
    return user


@pytest.fixture
def bob(analysts) -> User:
    user = make_user("bob")
    user.groups.add(analysts)
    return user


@pytest.fixture
def charlie(db) -> User:
    """In no group: nothing is granted to them."""
    return make_user("charlie")


@pytest.fixture
def key_for():
    """`key_for(user, scopes=[…])` gives the key text."""

    def make(user: User, scopes: list[str] | None = None, **options) -> str:
        return keys.issue(user, "test", scopes=scopes or list(Scope.values), **options)[1]

    return make
