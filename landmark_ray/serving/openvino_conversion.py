"""Conversion of a bundle's networks for OpenVINO, done once and cached on this machine.

    $XDG_CACHE_HOME/landmark_ray/VERSION-openvino-2026.4.1-format-2/
        trunk.xml, trunk.bin     a trunk with its heads
        trunk.parquet            photos with the Keras network's logits, see `bundle.reference`
        trunk.json               checksums of these files, written last: without it, none is used

A process of its own converts (`python -m landmark_ray.serving.openvino_conversion`), so that the
process that serves never imports TensorFlow. It keeps a converted network only if that answers as
the Keras network does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.multihead import Outputs, build_multihead, by_trunk, output_of
from landmark_ray.bundle.reference import Disagreement, Reference
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.runtime.receipts import checksum
from landmark_ray.serving.backends import TOLERANCE, load_openvino

CACHE_FORMAT = 2
"""Format of the folder; folders of other formats are neither used nor deleted."""

SUFFIXES = ("xml", "bin", "parquet")


def cache_folder(bundle: Bundle) -> Path:
    """Return the folder of a bundle's converted networks; it may not exist yet."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"{bundle.manifest.version}-openvino-{installed('openvino')}-format-{CACHE_FORMAT}"
    return Path(caches) / "landmark_ray" / name


def ensure_converted(bundle: Bundle, trunks: list[str]) -> dict[str, Path]:
    """Convert the trunks that aren't in the cache, each with the heads of all groups that share it.

    Returns:
        Trunk -> its .xml file.

    Raises:
        UserError: A trunk can't be converted, or doesn't answer as the Keras network does, or the
            cache can't be written.
    """
    try:
        folder = cache_folder(bundle)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a user without a home is a RuntimeError
        raise UserError(
            f"the folder for networks that are converted for OpenVINO can't be made ({error}): set "
            "XDG_CACHE_HOME to one that can be written, or choose --runtime tensorflow"
        ) from None
    with FileLock(folder / ".lock"):  # several replicas on a machine: only one converts
        missing = [trunk for trunk in trunks if not _is_complete(folder, trunk)]
        if missing:
            command = [sys.executable, "-m", __name__, bundle.uri, str(folder), *missing]
            env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
            process = subprocess.run(command, capture_output=True, text=True, env=env)
            if process.returncode:
                status = f"exit status {process.returncode}"
                lines = process.stderr.strip().splitlines() or [status]
                raise UserError(
                    f"{bundle.uri} can't be converted for OpenVINO: {lines[-1]}; "
                    "--runtime tensorflow needs no conversion"
                )
    return {trunk: folder / f"{_file_stem(trunk)}.xml" for trunk in trunks}


def read_conversion_reference(bundle: Bundle, trunk: str) -> Reference:
    """Read the Keras network's logits that were stored when a trunk was converted.

    Raises:
        UserError: The file is missing or damaged.
    """
    folder = Store(str(cache_folder(bundle)))
    return Reference.read(folder, f"{_file_stem(trunk)}.parquet", bundle.manifest.size)


def _file_stem(trunk: str) -> str:
    return trunk.replace("/", "-")


def _is_complete(folder: Path, trunk: str) -> bool:
    """Tell whether all files of a converted trunk exist and are undamaged."""
    try:
        checksums = Store(str(folder)).read_json(f"{_file_stem(trunk)}.json")
        return bool(checksums == _checksums(folder, _file_stem(trunk)))
    except (UserError, FileNotFoundError):
        return False


def _checksums(folder: Path, stem: str) -> dict[str, str]:
    return {suffix: checksum((folder / f"{stem}.{suffix}").read_bytes()) for suffix in SUFFIXES}


def convert(bundle: Store, trunk: str, wanted: Outputs, folder: Path) -> None:
    """Convert a trunk with its heads, and write it into a folder.

    Raises:
        UserError: A network is missing or damaged, or the converted one answers differently.
    """
    allow_new_python()
    replace_slice_updates()
    stem = _file_stem(trunk)
    network = build_multihead(bundle, trunk, wanted)
    photos = sample_photos(bundle, network.input_shape[1])
    outputs = network(photos, training=False)
    reference = Reference(photos, {g: outputs[output_of(g)].numpy() for g in wanted.widths})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        network.export(f"{scratch}/{stem}.xml", format="openvino", verbose=False)
        converted = load_openvino(Path(f"{scratch}/{stem}.xml"), wanted, "f32")
        try:
            reference.check(converted, reference.logits, TOLERANCE["f32"])
        except Disagreement as error:
            raise UserError(f"the converted network answers differently: {error}") from None
        reference.write(Store(scratch), f"{stem}.parquet")
        checksums = _checksums(Path(scratch), stem)
        for suffix in SUFFIXES:
            shutil.move(f"{scratch}/{stem}.{suffix}", folder / f"{stem}.{suffix}")
    Store(str(folder)).write_json(f"{stem}.json", checksums)


def allow_new_python() -> None:
    """Let OpenVINO look for TensorFlow without `exec`.

    OpenVINO 2026.4 imports TensorFlow with one `exec` and deletes that name with another, which
    fails from Python 3.13 on: each `exec` has local variables of its own (PEP 667). TensorFlow is
    imported here already.
    """
    from openvino.frontend.tensorflow import utils

    utils.exec = lambda code: None


def replace_slice_updates() -> None:
    """Let Keras write into a part of a tensor by operations that OpenVINO has.

    Swin in keras-hub makes its attention masks with `slice_update`, which is XlaDynamicUpdateSlice
    in TensorFlow; OpenVINO 2026.4 has no rule for it. Shapes and positions are known there.
    """
    import keras

    def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
        sides = zip(start_indices, inputs.shape, updates.shape, strict=True)
        around = [(int(start), size - int(start) - part) for start, size, part in sides]
        inside = keras.ops.pad(keras.ops.ones(updates.shape, bool), around)
        return keras.ops.where(inside, keras.ops.pad(updates, around), inputs)

    keras.ops.slice_update = slice_update


def sample_photos(bundle: Store, size: int) -> NDArray[np.uint8]:
    """Return photos [N, size, size, 3] to compare networks on: noise, clouds, the bundle's own."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    clouds = [
        np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
        for small in rng.integers(0, 256, (4, 7, 7, 3), np.uint8)
    ]
    real = [Reference.read(bundle, REFERENCE, size).photos] if bundle.exists(REFERENCE) else []
    return np.concatenate([noise, np.stack(clouds), *real])


def main(uri: str, folder: str, *trunks: str) -> None:
    """Convert the trunks of a bundle, each with its heads."""
    bundle = Store(uri)
    networks = by_trunk(bundle)
    for trunk in trunks:
        convert(bundle, trunk, networks[trunk], Path(folder))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
