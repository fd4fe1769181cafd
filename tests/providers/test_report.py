"""`docs/providers.md` says what the registry and the tests say, and nothing else."""

import pytest

from connections.providers import registry
from connections.providers.calls import Mode
from tests.providers import report
from tests.providers.conftest import files

KINDS = registry.providers()
AGAIN = "Run `make docs` and commit what it writes."


@pytest.fixture(scope="module")
def evidence():
    return report.read_evidence()


@pytest.fixture(scope="module")
def claims():
    return report.static_claims()


def test_every_mode_of_every_provider_rests_on_something(evidence):
    missing = [
        f"{name} {mode}" for name, kind in KINDS.items() for mode in kind.modes if not evidence.get(name, {}).get(mode)
    ]

    assert missing == [], AGAIN


def test_nothing_is_claimed_that_no_test_shows(evidence, claims):
    golden = {
        (name, mode, report.FACT_SHEET) for name in KINDS for mode in Mode if files(name, f"{mode}_request*.json")
    }
    told = {(kind, mode, by) for kind, modes in evidence.items() for mode, by in modes.items()}

    assert told - claims - golden == set(), AGAIN


def test_what_any_machine_can_show_is_told(evidence, claims):
    """Real peers are not at hand everywhere; what was shown against one stays told."""
    weaker = [
        (kind, mode, by)
        for kind, mode, by in sorted(claims)
        if by != "real peer" and report.STRENGTH[by] > report.STRENGTH.get(evidence.get(kind, {}).get(mode, ""), 0)
    ]

    assert weaker == [], AGAIN


def test_the_page_is_what_was_found(evidence):
    assert report.PAGE.read_text() == report.page(evidence), AGAIN


def test_marks_name_known_modes_and_words(claims):
    assert {mode for _, mode, _ in claims} <= set(Mode)
    assert {by for _, _, by in claims} <= set(report.STRENGTH)


# --- the machinery


def test_the_strongest_word_counts():
    claims = [
        ("a", "chat", "official SDK"),
        ("a", "chat", "real peer"),
        ("a", "chat", "fact sheet"),
        ("a", "image", "fact sheet"),
    ]

    assert report.strongest(claims) == {"a": {"chat": "real peer", "image": "fact sheet"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('@pytest.mark.proves(kind="a", mode="chat", by="real peer")\ndef test(): ...', [("a", "chat", "real peer")]),
        (
            'KIND = "b"\npytestmark = pytest.mark.proves(kind=KIND, mode="chat", by="official SDK")',
            [("b", "chat", "official SDK")],
        ),
        ("def test(): ...", []),
    ],
)
def test_marks_are_read_without_running_anything(tmp_path, source, expected):
    path = tmp_path / "test_it.py"
    path.write_text(source)

    assert list(report._claims_in(path)) == expected


@pytest.mark.parametrize(
    "arguments", ['kind=KINDS[0], mode="chat", by="x"', 'kind="a", mode="chat"', 'kind=f"{x}", mode="a", by="b"']
)
def test_a_mark_that_cannot_be_read_is_refused(tmp_path, arguments):
    path = tmp_path / "test_it.py"
    path.write_text(f"pytestmark = pytest.mark.proves({arguments})")

    with pytest.raises(ValueError, match="plain texts"):
        list(report._claims_in(path))


def test_the_page_marks_what_is_switched_off_and_hides_no_default():
    page = report.page({})

    for name, kind in KINDS.items():
        assert f'<a id="{name}"></a>{kind.label}' in page
        if kind.retired:
            assert f"[{kind.label}](#{name}) (switched off)" in page
    assert "SecretStr" not in page
    assert "?" in page  # nothing is shown without evidence


def test_a_hosted_service_is_not_verified_by_a_server_that_copies_it():
    told = {"anthropic": {"chat": "real peer"}, "llamacpp": {"chat": "real peer"}}

    unverified = report.page(told).partition("## Not verified")[2].partition("\n## ")[0]

    assert "- Anthropic: chat" in unverified
    assert "- llama.cpp server: completion" in unverified
