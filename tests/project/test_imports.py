"""What the web process must not load: engines' libraries cost hundreds of megabytes and seconds of the start."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "vllm", "langchain_core", "xllamacpp", "jinja2", "boto3", "botocore.auth")
OURS = ("connections.engines.serving", "connections.providers.conformance.golden")


def loaded(code: str) -> list[str]:
    """The modules that a fresh process has after this code."""
    told = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "llmmesh.settings"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_web_process_loads_no_engine():
    modules = loaded("import llmmesh.asgi\nfrom connections.providers import registry\nregistry.providers()")

    assert not {name for name in (*HEAVY, *OURS) if name in modules}


def test_an_engine_loads_nothing_of_ours_but_itself():
    modules = loaded("import connections.engines.__main__, connections.engines.python_engine")

    ours = {name for name in modules if name.split(".")[0] in {"access", "connections", "gateway", "llmmesh", "django"}}
    assert {name for name in ours if not name.startswith("connections.engines")} == {"connections"}
