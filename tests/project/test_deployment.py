"""No container engine runs here, so what the deployment files say is compared with the code they name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from llmmesh.environment import OPTIONS, ROOT_SECRETS
from llmmesh.management.commands.up import PARTS
from llmmesh.probes import PROBES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "llm-mesh"}
VALUES = {"DOMAIN": "mesh.example.com", "POSTGRES_PASSWORD": "letters", "PRIVATE_ADDRESSES": "10.20.0.0/16"}
VALUES |= {"AMBIENT_IDENTITY": "aws", "CUSTOM_CLASSES": "our_models:Fish"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def filled(text: str) -> str:
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: VALUES[found[1]], text)


def test_every_part_is_a_service_and_migrations_come_first():
    assert set(OURS) == {"prepare", *PARTS}
    for part in PARTS:
        assert OURS[part]["command"] == ["up", "--only", part]
        assert OURS[part]["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_that_manage_py_takes(name):
    command, *arguments = OURS[name]["command"]

    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)

    parser.parse_args(arguments)  # exits when it does not know one


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_one_that_the_settings_read(name):
    known = {"DATABASE_URL", "REDIS_URL", "PORT", *OPTIONS, *ROOT_SECRETS}

    assert set(OURS[name]["environment"]) <= known


def test_the_settings_take_the_values_and_find_nothing_to_warn_of(tmp_path):
    values = {name: filled(value) for name, value in OURS["web"]["environment"].items()}
    from llmmesh.environment import create_missing_secrets

    create_missing_secrets(tmp_path)
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env={"PATH": os.environ["PATH"], **values, "MESH_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_hosts_in_addresses_are_services():
    text = (ROOT / "docker-compose.yml").read_text()
    hosts = set(re.findall(r"[@/]([a-z]+):\d+(?:/|$)", text, re.MULTILINE)) | set(
        re.findall(r"reverse_proxy ([a-z]+):8000", (ROOT / "docs/deploy/Caddyfile").read_text())
    )

    assert hosts == {"postgres", "valkey", "gateway", "web"}
    assert hosts <= set(COMPOSE["services"])


def test_the_trusted_proxy_is_the_proxy():
    proxy = COMPOSE["services"]["proxy"]["networks"]["default"]["ipv4_address"]

    assert OURS["web"]["environment"]["MESH_TRUSTED_PROXIES"] == proxy


def test_every_mounted_file_and_volume_exists():
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_example_sets_exactly_what_the_file_asks_for():
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    given = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert given == asked


def test_health_checks_ask_a_probe_we_have():
    for part in ("gateway", "web"):
        code = OURS[part]["healthcheck"]["test"][3]
        compile(code, part, "exec")
        assert re.search(r":8000(/\w+)", code)[1] in PROBES


def test_the_image_holds_everything_and_runs_as_nobody_special():
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    packages = {path.parent.name for path in ROOT.glob("*/apps.py")} | {"llmmesh"}

    assert all((ROOT / source).exists() for source in sources)
    assert {*packages, "manage.py", "templates", "static", "CHANGELOG.md", "requirements/base.txt"} <= sources
    assert "\nUSER mesh\n" in DOCKERFILE
    assert re.search(r"^FROM python:3\.11-", DOCKERFILE, re.MULTILINE)
