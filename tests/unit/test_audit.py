"""`.ci/audit.py`: what it makes of pip-audit's answers."""

import importlib.util
import re

import pytest

from tests.conftest import REPO

spec = importlib.util.spec_from_file_location("audit", REPO / ".ci/audit.py")
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

FLAW = {"id": "GHSA-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"], "description": "x"}
SKIPPED = {"name": "a", "skip_reason": "Dependency not found"}
SOUND = {"name": "b", "version": "1", "vulns": []}
ILL = {"name": "c", "version": "2", "vulns": [FLAW]}


def test_packages_that_no_database_knows_are_not_called_sound():
    for found in ([], [SKIPPED]):
        lines, well = audit.judge(found, {})
        assert well and "nothing was checked" in lines[0]
    lines, _ = audit.judge([SKIPPED, SOUND], {})
    assert lines == ["audit: 1 of 2 locked packages checked"]


def test_a_vulnerability_fails_unless_a_reason_is_listed():
    lines, well = audit.judge([SOUND, ILL], {})
    assert not well and lines[1] == "audit: c 2: GHSA-1, mended in 2.1"
    lines, well = audit.judge([ILL], audit.accepted("# why\n\nCVE-2026-1 only on Windows\n"))
    assert well and lines[1] == "audit: c 2: GHSA-1, accepted: only on Windows"
    with pytest.raises(SystemExit, match="GHSA-2 lacks a reason"):
        audit.accepted("GHSA-2\n")


def answered(monkeypatch, out: str, err: str) -> None:
    done = type("Done", (), {"stdout": out, "stderr": err})
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)


def test_a_database_out_of_reach_has_checked_nothing_but_a_broken_lock_is_an_error(monkeypatch):
    answered(monkeypatch, "", "requests.exceptions.ConnectionError: no such host\n")
    assert audit.ask("osv") == []
    answered(monkeypatch, "", "ERROR: requirements-gpu.txt: invalid line\n")
    with pytest.raises(SystemExit, match="pip-audit failed: ERROR: requirements-gpu.txt"):
        audit.ask("osv")


@pytest.mark.parametrize("kind", ["requirements", "requirements-dev", "requirements-gpu"])
def test_every_locked_package_has_hashes_and_no_file_names_an_index(kind):
    text = (REPO / f"{kind}.txt").read_text()
    pins = [pin for pin in re.split(r"\n(?=\S)", text) if not pin.startswith("#")]
    assert len(pins) > 100
    for pin in pins:
        assert re.match(r"\S+==\S+ (; .*)?\\\n    --hash=sha256:", pin), pin
    for name in (f"{kind}.txt", "pyproject.toml", "Makefile", "cluster.yaml"):
        assert not re.search(r"https?://|(?<!emit-)(index-url|find-links)[ =]", lines_of(name)), (
            name
        )


def lines_of(name: str) -> str:
    """A file without its comments, and without addresses of this machine."""
    text = re.sub(r"#.*", "", (REPO / name).read_text())
    return text.replace("http://127.0.0.1", "")
