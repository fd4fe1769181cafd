"""`make docs`: what is known of each provider, from the registry and from tests that passed.

A pytest plugin. With `--providers-report` it runs only the tests that show something of a provider: those marked
`proves(kind, mode, by)` and the golden files of `test_contract.py`. It writes down whose word each mode rests on
(`evidence.json`) and makes `docs/providers.md` from that and the registry. Nothing of that page is typed:
`test_report.py` compares it with the registry and with the marks as they stand.
"""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from connections.providers import registry
from connections.providers.calls import Mode
from connections.providers.contract import GROUPS, Provider
from connections.providers.settings import ModelOptions

TESTS = Path(__file__).resolve().parents[1]
EVIDENCE = Path(__file__).with_name("evidence.json")
PAGE = TESTS.parent / "docs" / "providers.md"
FACT_SHEET = "fact sheet"
STRENGTH = {"real peer": 3, "official SDK": 2, "official schema": 2, FACT_SHEET: 1}
"""Whose word a test takes; a real peer is a server of others that runs, never our imitation."""
GOLDEN = ("test_the_golden_request_is_made", "test_the_golden_reply_is_read")

Claim = tuple[str, str, str]
"""kind, mode, by"""
Evidence = Mapping[str, Mapping[str, str]]
"""The strongest word for each mode of each kind."""


# --- what the tests claim, without running them -------------------------------------------------------------


def static_claims() -> set[Claim]:
    """Every `proves` mark of the suite. Raises ValueError for one that is not written in plain texts."""
    return {claim for path in TESTS.rglob("*.py") for claim in _claims_in(path) if claim[2] in STRENGTH}


def _claims_in(path: Path) -> Iterator[Claim]:
    text = path.read_text()
    if "mark.proves(" not in text:
        return
    tree = ast.parse(text)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "proves":
            given = {keyword.arg: _text(keyword.value, constants) for keyword in node.keywords}
            if None in given.values() or set(given) != {"kind", "mode", "by"}:
                raise ValueError(f"{path.name}:{node.lineno}: write kind, mode and by of `proves` as plain texts")
            yield str(given["kind"]), str(given["mode"]), str(given["by"])


def _text(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    return constants.get(node.id) if isinstance(node, ast.Name) else None


# --- what a run shows ---------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--providers-report", action="store_true", help="run what shows something of providers; write docs"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--providers-report", default=False):
        config.pluginmanager.register(Reporter(), "providers-report")


class Reporter:
    def __init__(self) -> None:
        self.claims: dict[str, list[Claim]] = {}
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.claims = {item.nodeid: claims for item in items if (claims := list(_claims_of(item)))}
        left_out = [item for item in items if item.nodeid not in self.claims]
        items[:] = [item for item in items if item.nodeid in self.claims]
        config.hook.pytest_deselected(items=left_out)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if self.failed or exitstatus:
            return  # nothing is claimed by a suite that fails
        shown = {claim for nodeid in self.passed for claim in self.claims[nodeid]} | _shown_before()
        EVIDENCE.write_text(json.dumps(strongest(shown), indent=2, sort_keys=True) + "\n")
        PAGE.write_text(page(read_evidence()))


def _shown_before() -> set[Claim]:
    """What was shown against real peers, which are not at hand everywhere, as long as a test for it exists."""
    before = read_evidence() if EVIDENCE.exists() else {}
    told = {(kind, mode, by) for kind, modes in before.items() for mode, by in modes.items() if by == "real peer"}
    return told & static_claims()


def _claims_of(item: pytest.Item) -> Iterator[Claim]:
    for mark in item.iter_markers("proves"):
        yield mark.kwargs["kind"], str(mark.kwargs["mode"]), mark.kwargs["by"]
    if item.path.name == "test_contract.py" and getattr(item, "originalname", "") in GOLDEN:
        given = item.callspec.params  # type: ignore[attr-defined] # parametrized
        yield given["kind"], given["path"].stem.partition("_")[0], FACT_SHEET


def strongest(claims: Iterable[Claim]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for kind, mode, by in sorted(claims):
        known = found.setdefault(kind, {}).get(mode, "")
        if STRENGTH[by] > STRENGTH.get(known, 0):
            found[kind][mode] = by
    return found


def read_evidence() -> Evidence:
    found: Evidence = json.loads(EVIDENCE.read_text())
    return found


# --- the page -----------------------------------------------------------------------------------------------

HEAD = """\
# Providers

<!-- Written by `make docs` from the registry and from the tests that passed. Do not edit. -->

Every system that a connection can be made to, what it is asked for, and whose word our tests take for it:

- **real peer**: shown against a running server that others wrote: the system itself where it can be installed, for a
  hosted service one that speaks its dialect.
- **official SDK**, **official schema**: our requests and answers pass the vendor's own client or its published schema.
- **fact sheet**: recorded from the vendor's documentation; the other side of the tests is our own imitation.

A dash: the system has no such models, or we do not ask it for them.
"""


def page(evidence: Evidence) -> str:
    kinds = [kind for group in GROUPS for kind in registry.providers().values() if kind.group == group]
    parts = [HEAD, _table(kinds, evidence), _unverified(kinds, evidence), _shared(evidence)]
    for group, title in GROUPS.items():
        members = [kind for kind in kinds if kind.group == group]
        if members:
            parts += [f"## {title}\n", *map(_provider, members)]
    return "\n".join(part for part in parts if part)


def _table(kinds: Iterable[type[Provider]], evidence: Evidence) -> str:
    lines = [f"| provider | {' | '.join(Mode)} |", f"| --- |{' --- |' * len(Mode)}"]
    for kind in filter(lambda kind: kind.modes, kinds):
        name = f"[{kind.label}](#{kind.kind})" + (" (switched off)" if kind.retired else "")
        cells = [evidence.get(kind.kind, {}).get(mode, "?") if mode in kind.modes else "–" for mode in Mode]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _unverified(kinds: Iterable[type[Provider]], evidence: Evidence) -> str:
    lines = [
        "## Not verified against the real system\n",
        "Nobody had an account or a server of these at hand, so try a new connection with the *Test* button first.",
        "Whatever is uncertain about a system is a setting of its connections.\n",
    ]
    for kind in kinds:
        rest = [mode for mode in Mode if mode in kind.modes and not _seen(kind, evidence.get(kind.kind, {}).get(mode))]
        if rest:
            lines.append(f"- {kind.label}: {', '.join(rest)}")
    return "\n".join(lines) + "\n"


def _seen(kind: type[Provider], by: str | None) -> bool:
    """Whether the system itself answered; a hosted service's peer is another server that speaks its dialect."""
    return by == "real peer" and kind.group != "hosted"


def _shared(evidence: Evidence) -> str:
    """What is proven of parts that several providers share."""
    others = {name: modes for name, modes in evidence.items() if name not in registry.providers()}
    lines = [
        f"- {name}: {', '.join(f'{mode} by {by}' for mode, by in modes.items())}" for name, modes in others.items()
    ]
    return "\n".join(["## Shared parts\n", *lines]) + "\n" if lines else ""


def _provider(kind: type[Provider]) -> str:
    lines = [f'### <a id="{kind.kind}"></a>{kind.label}\n', f"{kind.summary} Kind `{kind.kind}`.\n"]
    if kind.retired:
        since = f" since {kind.retired.since}" if kind.retired.since else ""
        instead = f" Use {kind.retired.successor} instead." if kind.retired.successor else ""
        lines.append(f"**Switched off by its vendor{since}.**{instead}\n")
    if kind.docs_url:
        lines.append(f"Where its values are found: <{kind.docs_url}>\n")
    secrets = set(kind.Settings.secret_names())
    lines += _fields("setting", kind.Settings.model_fields, secrets)
    if kind.ModelOptions.model_fields.keys() - ModelOptions.model_fields.keys():
        lines += _fields("set for each model", kind.ModelOptions.model_fields, set())
    return "\n".join(lines)


def _fields(head: str, fields: Mapping[str, FieldInfo], secrets: set[str]) -> list[str]:
    if not fields:
        return []
    lines = [f"| {head} | name | default | what it is |", "| --- | --- | --- | --- |"]
    for name, info in fields.items():
        default = "stored encrypted" if name in secrets else _default(info)
        default += ", required" if name in secrets and info.is_required() else ""
        lines.append(f"| {_cell(info.title)} | `{name}` | {default} | {_cell(info.description)} |")
    return [*lines, ""]


def _default(info: FieldInfo) -> str:
    if info.is_required() or info.default is PydanticUndefined:
        return "required"
    value = info.default.value if hasattr(info.default, "value") else info.default
    return f"`{value}`" if value not in (None, "", [], {}, ()) else ""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")
