"""The conformance kit: on the example of its own page, and on classes that break one promise each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connections.providers.conform import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "writing-a-provider.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL))
"""The files of the page's example, by name."""


@pytest.fixture
def package(tmp_path):
    """The example, as its author would lay it out."""
    (tmp_path / "golden").mkdir()
    for name, text in FILES.items():
        folder = tmp_path / "golden" if name.endswith(("json", "ndjson")) else tmp_path
        (folder / name).write_text(f"{text}\n")
    return tmp_path


def conform(package, *arguments, name="mesh_fishbowl:Fishbowl"):
    """The kit as a third party runs it: no settings, no database, no tests folder."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}
    command = [sys.executable, "-P", "-m", "connections.providers.conform", name, "--golden", str(package / "golden")]
    return subprocess.run(
        [*command, *arguments], env=environment, cwd=package, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_example_of_the_page_keeps_every_promise(package):
    done = conform(package)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "BROKEN" not in done.stdout
    assert re.search(r"^Fishbowl: [3-9]\d promises kept, 0 broken, 0 skipped\.$", done.stdout, re.MULTILINE)
    assert set(FILES) >= {"mesh_fishbowl.py", "pyproject.toml", "settings.json", "chat_stream.ndjson", "errors.json"}


KEY = "self.settings.api_key.get_secret_value()"
LEFT_OUT = """        if not text:
            raise problems.unreadable(answer.body, self.secrets())
"""
BROKEN = {
    "another header": ("X-Fish-Key", "X-Other-Key", "of the headers there are"),
    "an open key": ("api_key: Secret", "api_key: str", "api_key is stored in the open"),
    "no target": ("target=True", "target=False", "not marked target=True: base_url"),
    "no help": ('help="From your account\'s page."', 'help=""', "api_key lacks a title or a help text"),
    "another name": ('Rule("limit")', "Rule()", "the body is"),
    "a lost parameter": (
        "body = self.parameters.apply(call)",
        'body = {name: value for name, value in call.body.items() if name in ("messages", "stop")}',
        "is neither sent nor reported",
    ),
    "a key in the address": ('"chat")', f'f"chat/{{{KEY}}}")', "a secret stands in the address"),
    "a check that posts": ('Outgoing("GET", joined', 'Outgoing("POST", joined', "the check is a POST"),
    "an empty answer": (LEFT_OUT, "", "the answer b'{}'"),
    "a forgotten secret": (
        "    def check(self)",
        "    def secrets(self) -> list[str]:\n        return []\n\n    def check(self)",
        "the value of api_key is not among secrets()",
    ),
    "nameless errors": (
        "return problems.named(answer, self.secrets())",
        'return ProviderError("no")',
        "HTTP 401 is ProviderError",
    ),
    "no finish": ("return self._finish(_finish(told))", "return []", "cut off before its end"),
    "no usage": ("            self.usage = _usage(told)\n", "", "the usage is"),
    "no framing": ("framing = Framing.NDJSON", "framing = Framing.NUL", "cut"),
    "a bare decoder": (
        "told = shapes.decoded(frame.data, self._secrets)",
        "told = wire.ANY.decode(frame.data)",
        "raises DecodeError",
    ),
    "a careless reader": ('self._text(shapes.string(told, "text"))', 'self._text(told["text"])', "raises KeyError"),
    "no end": (
        "class FishReader(shapes.ShapedReader):",
        "class FishReader(shapes.ShapedReader):\n    def _check_end(self) -> None: ...\n",
        "instead of raising",
    ),
    "a careless list": ('told.get("all_fish")', 'told["all_fish"]', "raises KeyError"),
    "no mark": ('label = "Fishbowl"', 'label = "Fishbowl"\n    mark = "nobody"', "there is no mark nobody"),
}
"""What to change in the example, into what, and what the kit says to it."""


@pytest.mark.parametrize("what", BROKEN)
def test_a_class_that_breaks_a_promise_is_told(package, monkeypatch, capsys, what):
    good, broken, said = BROKEN[what]
    text = (package / "mesh_fishbowl.py").read_text()
    assert text.count(good) == 1
    name = f"mesh_fishbowl_{package.name.replace('-', '_')}"  # each a module of its own
    (package / f"{name}.py").write_text(text.replace(good, broken))
    monkeypatch.syspath_prepend(package)

    status = main([f"{name}:Fishbowl", "--quiet", "--golden", str(package / "golden")])

    told = capsys.readouterr().out
    assert status == 1
    assert "BROKEN" in told
    assert said in told


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mesh_fishbowl", "Name the class as package.module:Class"),
        ("nowhere:Class", "nowhere cannot be imported"),
        ("mesh_fishbowl:Shark", "has no Shark"),
        ("mesh_fishbowl:FINISHES", "is no subclass of"),
        ("connections.providers.contract:Provider", "Provider lacks kind, label, Settings, modes, parameters"),
    ],
)
def test_what_cannot_be_checked_is_told(package, name, said):
    done = conform(package, name=name)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_settings_is_told(package):
    (package / "golden" / "settings.json").unlink()

    done = conform(package)

    assert done.returncode == 2
    assert "has no settings.json" in done.stderr


def test_a_missing_golden_file_is_a_broken_promise(package):
    for name, said in (("chat_reply.json", "no chat_reply.json"), ("chat_stream.ndjson", "no chat_stream.sse")):
        (package / "golden" / name).unlink()
        done = conform(package, "--quiet")
        assert done.returncode == 1
        assert said in done.stdout


def test_the_kit_needs_neither_django_nor_the_tests(package):
    code = (
        "import sys\nfrom connections.providers.conform import main\n"
        f"status = main(['mesh_fishbowl:Fishbowl', '--quiet', '--golden', {str(package / 'golden')!r}])\n"
        "foreign = ('django', 'httptools', 'tests', 'pytest', 'hypothesis')\n"
        "print([name for name in foreign if name in sys.modules], status)"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}

    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.strip().endswith("[] 0"), done.stdout + done.stderr
