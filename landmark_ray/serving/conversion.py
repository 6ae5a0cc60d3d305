"""OpenVINO's copies of a bundle's networks: made once, and kept in a folder of this machine.

    $XDG_CACHE_HOME/landmark_ray/VERSION-openvino-2026.4.1/trunk.xml, trunk.bin

Another process makes them (`python -m landmark_ray.serving.conversion`), so that the one that
serves never imports TensorFlow.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as installed
from pathlib import Path

from filelock import FileLock

from landmark_ray.errors import UserError
from landmark_ray.manifest import Bundle
from landmark_ray.serving.assembly import assembled, by_trunk
from landmark_ray.storage import Folder


def place_of(bundle: Bundle) -> Path:
    """The folder of a bundle's copies."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"{bundle.manifest.version}-openvino-{installed('openvino')}"
    return Path(caches) / "landmark_ray" / name


def converted(bundle: Bundle, trunks: list[str]) -> dict[str, Path]:
    """Trunk -> file of its copy, with the heads of all groups that share it.

    Raises:
        UserError: one can't be made.
    """
    place = place_of(bundle)
    files = {trunk: place / f"{trunk.replace('/', '-')}.xml" for trunk in trunks}
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):  # of several replicas that start on a machine one does it
        missing = [trunk for trunk, file in files.items() if not file.exists()]
        if missing:
            words = [sys.executable, "-m", __name__, bundle.uri, str(place), *missing]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
                raise UserError(
                    f"{bundle.uri} can't be converted for OpenVINO: {lines[-1]}; "
                    "--runtime tensorflow needs no conversion"
                )
    return files


def main(uri: str, place: str, *trunks: str) -> None:
    """Convert some trunks with their heads."""
    bundle = Folder(uri)
    have = by_trunk(bundle)
    for trunk in trunks:
        name = f"{trunk.replace('/', '-')}"
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            network = assembled(bundle, trunk, have[trunk])
            network.export(f"{scratch}/{name}.xml", format="openvino", verbose=False)
            for ending in ("bin", "xml"):  # the one that others look for last
                shutil.move(f"{scratch}/{name}.{ending}", f"{place}/{name}.{ending}")


if __name__ == "__main__":
    main(*sys.argv[1:])
