"""A disk that fills: a line says so, nothing half-written counts, and the run goes on."""

import subprocess

import pytest

from tests.conftest import line_of
from tests.tables import assert_same_tables

pytestmark = pytest.mark.ray

SHARES = (0.1, 0.6)
"""Of what a whole run writes: the disk fills at another stage each time."""


@pytest.fixture
def disk(tmp_path):
    """A function that makes a disk of so many bytes, or larger or smaller."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(size: int):
        how = "remount," if place.is_mount() else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", place]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
        return place

    yield sized
    if place.is_mount():
        subprocess.run(["umount", "--lazy", place], check=True)


def test_run_on_a_disk_that_fills_goes_on_when_there_is_space(
    disk, small_source, small_root, run_job
):
    whole = sum(file.stat().st_size for file in small_root.rglob("*") if file.is_file())
    stages = []
    for share in SHARES:
        root = disk(int(share * whole)) / "root"
        args = ("--source", small_source.path, "--root", root, *small_source.options)
        line = line_of(run_job("pipeline", *args, "--to", "resize"))
        assert "no space left; free some, and run the same command again" in line
        stages.append(line.removeprefix(f"error: {root}/").partition("/")[0])
    assert len(set(stages)) == len(SHARES), stages
    disk(2 * whole + (1 << 20))
    done = run_job("pipeline", *args, "--to", "resize")
    assert done.returncode == 0, done.stderr
    assert_same_tables(root, small_root)
    assert not list(root.rglob(".*.part"))
