"""`landmark-ray JOB`, as pip installs it."""

import subprocess
import sys

import pytest

from landmark_ray import __main__ as installed
from tests.conftest import REPO


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["/bin/landmark-ray", *words])
    try:
        installed.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_no_job_lists_the_jobs(words, monkeypatch, capsys):
    assert run(monkeypatch, *words) == 0
    assert "  serve " in capsys.readouterr().out


@pytest.mark.parametrize("job", ["pipeline", "predict", "serve"])
def test_each_job_explains_its_options(job, monkeypatch, capsys):
    assert run(monkeypatch, job, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: landmark-ray {job} [-h]")


def test_an_unknown_job_is_an_error(monkeypatch, capsys):
    assert run(monkeypatch, "sevre") == 2
    assert capsys.readouterr().err.startswith("error: there is no job sevre\nusage: ")


def test_serve_without_its_extra_says_what_to_install():
    code = (
        "import sys; sys.modules['fastapi'] = None; from landmark_ray.__main__ import main; main()"
    )
    words = [sys.executable, "-c", code, "serve"]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: serve needs fastapi")
    assert "pip install 'landmark_ray[serve]'" in done.stderr
