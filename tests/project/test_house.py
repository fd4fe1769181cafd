"""How the house is built: import arrows, locked dependencies, and what a start does not load."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connections.providers import registry
from llmmesh.environment import OPTIONS, ROOT_SECRETS

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_run_one_way():
    done = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")

    assert done.returncode == 0, done.stdout


ALL_PROVIDERS = "django.setup()\nfrom connections.providers import registry\nregistry.providers()"


@pytest.mark.parametrize("program", ["django.setup()", "import llmmesh.asgi", ALL_PROVIDERS])
def test_a_start_loads_no_heavy_sdk(program):
    """Together they cost seconds and hundreds of megabytes; adapters import them where they call them."""
    heavy = {
        "boto3",
        "botocore",
        "google.auth",
        "google.genai",
        "google.cloud.aiplatform",
        "google.cloud.aiplatform_v1",
        "google.protobuf",
        "grpc",
        "vertexai",
        "xllamacpp",
        "pip",
    }
    code = f"import django, sys\n{program}\nprint(sorted(set(sys.modules) & {heavy}))"

    done = run(sys.executable, "-c", code)

    assert done.stdout.strip() == "[]", done.stderr


def test_the_web_process_loads_what_postgresql_needs_only_for_postgresql():
    """8 MB of memory."""
    code = "import sys, llmmesh.asgi; print('psycopg' in sys.modules)"
    environment = {**os.environ, "DATABASE_URL": "sqlite:///:memory:"}

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.stdout.strip() == "False", done.stderr


def test_the_local_models_process_knows_nothing_of_ours():
    code = "import sys; import local_model; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, 'llmmesh'); {code}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert not set(eval(done.stdout)) & {"django", "celery", "llmmesh", "access", "connections", "gateway"}


APPS = ("access", "connections", "gateway", "llmmesh", "playground")
OPENS_CONNECTIONS = {"create_connection", "create_unix_connection", "open_connection", "open_unix_connection"}
OPENS_CONNECTIONS |= {"create_datagram_endpoint", "sock_connect", "start_tls"}
TALKS_WITH_OUR_OWN = ROOT / "llmmesh/supervisor.py"
"""To the web server that it started."""


def test_only_the_dialer_opens_connections():
    """It checks where they lead; the transport is the only one to use it (see the import contracts)."""
    opening = set()
    for path in (path for app in APPS for path in (ROOT / app).rglob("*.py")):
        called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        methods = [one for one in called if isinstance(one, ast.Attribute) and ast.unparse(one.value) != "services"]
        if {one.attr for one in methods} & OPENS_CONNECTIONS:
            opening.add(path)

    assert opening == {ROOT / "connections/dialing.py", TALKS_WITH_OUR_OWN}


SHARED_BY_PROVIDERS = (
    *("calls", "contract", "conversation", "cumulative", "emulation", "errors", "feature_extraction", "fields"),
    *("framing", "images", "multipart", "oauth", "parameters", "problems", "prompt_formats", "ranking", "registry"),
    *("scrubbing", "settings", "shapes", "streams", "text_generation", "thinking", "wire"),
)
PACKAGES = ("connections", *(f"connections/{part}" for part in ("api", "health", "services", "templatetags", "views")))
NO_PROVIDERS_OWN = (
    *(ROOT / f"connections/providers/{name}.py" for name in SHARED_BY_PROVIDERS),
    *(path for folder in (*PACKAGES, "connections/providers/conformance") for path in (ROOT / folder).glob("*.py")),
    *(path for app in ("access", "gateway", "playground") for path in (ROOT / app).rglob("*.py")),
)


def test_shared_code_never_asks_which_provider_this_is():
    """What is particular to one lives in its own file; texts for people may name it."""
    kinds = registry.providers()
    own = {one.__module__ for one in kinds.values()}

    for path in NO_PROVIDERS_OWN:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        modules = {node.module for node in imports}
        modules |= {f"{node.module}.{one.name}" for node in imports for one in node.names}

        assert not texts & set(kinds), path
        assert not modules & own, path


def test_no_page_asks_which_provider_this_is():
    for path in (ROOT / "templates").rglob("*.html"):
        asked = re.findall(r"""\{%\s*(?:el)?if[^%]*?["']([a-z0-9_]+)["']""", path.read_text())

        assert not set(asked) & set(registry.providers()), path


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_with_hashes_and_holds_no_address(lock):
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*(?:\[[a-z,-]+\])?==\S+", text, re.MULTILINE)

    assert pins
    assert "://" not in text
    assert len(re.findall(r"^\S", text, re.MULTILINE)) == len(pins) + text.count("\n#") + text.startswith("#")
    assert text.count("\\\n    --hash=sha256:") >= len(pins)


def test_development_uses_the_versions_that_are_shipped():
    def pins(name: str) -> set[str]:
        return set(
            re.findall(r"^([a-z0-9][^ ;\\]*==[^ ;\\]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
        )

    assert pins("base.txt") <= pins("dev.txt")


def test_the_page_on_configuration_names_each_setting_once_and_no_other():
    page = (ROOT / "docs/configuration.md").read_text()
    described = re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE)

    assert sorted(described) == sorted([*OPTIONS, *ROOT_SECRETS, "DATABASE_URL", "REDIS_URL", "PORT"])


def test_pages_name_only_settings_there_are():
    known = {*OPTIONS, *ROOT_SECRETS, *(f"{name}_FILE" for name in ROOT_SECRETS)}
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / ".env.example", ROOT / "Makefile"]

    named = {name for page in pages for name in re.findall(r"\bMESH_[A-Z_]*[A-Z]\b", page.read_text())}

    assert named <= known


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
