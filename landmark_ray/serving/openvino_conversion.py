"""OpenVINO's copies of a bundle's networks: made once, and kept in a folder of this machine.

    $XDG_CACHE_HOME/landmark_ray/VERSION-openvino-2026.4.1-format-2/
        trunk.xml, trunk.bin     a trunk with its heads
        trunk.parquet            photos, and what the Keras network says of them, see `reference`
        trunk.json               checksums of these files, written last: without it none is used

Another process makes them (`python -m landmark_ray.serving.openvino_conversion`), so that the one
that serves never imports TensorFlow. It keeps only copies that answer as the Keras network does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from landmark_ray.bundle.manifest import REFERENCE, Bundle, checksum
from landmark_ray.bundle.multihead import build_multihead, by_trunk, output_of
from landmark_ray.bundle.network_files import HeadInfo
from landmark_ray.bundle.reference import Disagreement, Reference
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.serving.backends import TOLERANCE, on_openvino

FORMAT = 2
"""Of the folder: what other code made is left where it is, and not used."""

ENDINGS = ("xml", "bin", "parquet")


def place_of(bundle: Bundle) -> Path:
    """The folder of a bundle's copies."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"{bundle.manifest.version}-openvino-{installed('openvino')}-format-{FORMAT}"
    return Path(caches) / "landmark_ray" / name


def converted(bundle: Bundle, trunks: list[str]) -> dict[str, Path]:
    """Trunk -> file of its copy, with the heads of all groups that share it.

    Raises:
        UserError: one can't be made, or it doesn't answer as the Keras network does.
    """
    place = place_of(bundle)
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):  # of several replicas that start on a machine one does it
        missing = [trunk for trunk in trunks if not _whole(place, trunk)]
        if missing:
            words = [sys.executable, "-m", __name__, bundle.uri, str(place), *missing]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
                raise UserError(
                    f"{bundle.uri} can't be converted for OpenVINO: {lines[-1]}; "
                    "--runtime tensorflow needs no conversion"
                )
    return {trunk: place / f"{_name(trunk)}.xml" for trunk in trunks}


def kept_reference(bundle: Bundle, trunk: str) -> Reference:
    """What the Keras network of a trunk with its heads said when it was converted.

    Raises:
        UserError: it is missing or damaged.
    """
    folder = Store(str(place_of(bundle)))
    return Reference.read(folder, f"{_name(trunk)}.parquet", bundle.manifest.size)


def _name(trunk: str) -> str:
    return trunk.replace("/", "-")


def _whole(place: Path, trunk: str) -> bool:
    """Whether all files of a copy are there, as they were written."""
    try:
        sums = Store(str(place)).read_json(f"{_name(trunk)}.json")
        return bool(sums == _checksums(place, _name(trunk)))
    except (UserError, FileNotFoundError):
        return False


def _checksums(place: Path, name: str) -> dict[str, str]:
    return {e: checksum((place / f"{name}.{e}").read_bytes()) for e in ENDINGS}


def convert(bundle: Store, trunk: str, infos: list[HeadInfo], place: Path) -> None:
    """Make the copy of a trunk with its heads.

    Raises:
        UserError: a network is missing or damaged, or the copy answers otherwise.
    """
    name = _name(trunk)
    network = build_multihead(bundle, trunk, infos)
    photos = sample_photos(bundle, network.input_shape[1])
    logits = network(photos, training=False)
    reference = Reference(photos, {i.group: logits[output_of(i.group)].numpy() for i in infos})
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        network.export(f"{scratch}/{name}.xml", format="openvino", verbose=False)
        copy = on_openvino(Path(f"{scratch}/{name}.xml"), infos, "f32")
        try:
            reference.check(copy, reference.logits, TOLERANCE["f32"])
        except Disagreement as error:
            raise UserError(f"the copy answers otherwise: {error}") from None
        reference.write(Store(scratch), f"{name}.parquet")
        sums = _checksums(Path(scratch), name)
        for ending in ENDINGS:
            shutil.move(f"{scratch}/{name}.{ending}", place / f"{name}.{ending}")
    Store(str(place)).write_json(f"{name}.json", sums)


def sample_photos(bundle: Store, size: int) -> NDArray[np.uint8]:
    """Photos [N, size, size, 3] to compare networks on: noise, coloured clouds, the bundle's."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    clouds = [
        np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
        for small in rng.integers(0, 256, (4, 7, 7, 3), np.uint8)
    ]
    real = [Reference.read(bundle, REFERENCE, size).photos] if bundle.exists(REFERENCE) else []
    return np.concatenate([noise, np.stack(clouds), *real])


def main(uri: str, place: str, *trunks: str) -> None:
    """Convert some trunks with their heads."""
    bundle = Store(uri)
    have = by_trunk(bundle)
    for trunk in trunks:
        convert(bundle, trunk, have[trunk], Path(place))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
