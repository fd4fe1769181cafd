"""`.ci/run` must not pass because a test silently did not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def outcome(folder: Path, marker: str, **environment: str) -> str:
    """The last line of a run of one skipped test that has `marker`."""
    (folder / "test_one.py").write_text(
        f"import pytest\n\n@pytest.mark.{marker}\ndef test_one():\n    pytest.skip('no chromium here')\n"
    )
    (folder / "pytest.ini").write_text(f"[pytest]\nmarkers = {marker}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:django", "-p", "no:randomly"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("marker", "environment", "expected"),
    [
        ("browser", {}, "1 skipped"),
        ("browser", {"CI": "true"}, "1 failed"),
        ("postgres", {"CI": "true"}, "1 skipped"),  # on SQLite; the second run is the one that counts
        ("postgres", {"CI": "true", "DATABASE_URL": "postgres://somewhere"}, "1 failed"),
        ("local_model", {"CI": "true"}, "1 skipped"),
    ],
)
def test_a_skip_counts_as_a_failure_in_ci(tmp_path, marker, environment, expected):
    assert expected in outcome(tmp_path, marker, **environment)


@pytest.mark.parametrize("workers", [["-p", "no:xdist"], ["-n", "1"]])
def test_what_was_left_out_is_counted(tmp_path, workers):
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n@pytest.mark.peer\n@pytest.mark.parametrize('n', range(3))\ndef test_peer(n): ...\n\n"
        "def test_other(): ...\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = peer\naddopts = -m 'not peer'\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:django", "-p", "no:cacheprovider"]

    def told(*picked: str) -> str:
        return subprocess.run(
            [*command, *workers, *picked, str(tmp_path)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "3 tests with real servers of others were left out: make test-peers" in told()
    assert "left out" not in told("-m", "peer")
