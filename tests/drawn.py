"""A few textured landmarks in GLDv2's layout: what tests need to run the pipeline in seconds."""

import hashlib
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASS_SIZES = {11: 9, 22: 14, 33: 7, 44: 22, 55: 12, 66: 3}
TARS = 4


def facade(rng: np.random.Generator) -> np.ndarray:
    """[400, 500, 3] a wall of random stones, the same for all photos of a landmark."""
    wall = np.full((400, 500, 3), rng.integers(90, 200, 3), np.uint8)
    for _ in range(400):
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 6, 6), (490, 390, 50, 40)))
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        cv2.rectangle(wall, (x, y), (x + w, y + h), colour, -1)
    return wall


def view(wall: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[240, 320, 3] the wall from a little aside, in other light."""
    target = np.float32([[0, 0], [320, 0], [320, 240], [0, 240]])
    corners = np.float32([[40, 40], [460, 40], [460, 360], [40, 360]])
    corners += rng.uniform(-30, 30, (4, 2)).astype(np.float32)
    seen = cv2.warpPerspective(wall, cv2.getPerspectiveTransform(corners, target), (320, 240))
    return np.clip(seen * rng.uniform(0.7, 1.2) + rng.normal(0, 3, seen.shape), 0, 255).astype(
        np.uint8
    )


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=88)
    return out.getvalue()


def photo(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A photo of a landmark of its own, width x height."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(view(facade(rng), rng)).resize(size)


def draw(folder: Path) -> None:
    """64 views of 5 landmarks, a class too small, 5 photos of other things, 2 broken files."""
    rng = np.random.default_rng(5)
    files: list[tuple[int, bytes]] = []
    for landmark, size in CLASS_SIZES.items():
        wall = facade(rng)
        files += [(landmark, jpeg(view(wall, rng))) for _ in range(size)]
    files += [(44, jpeg(view(facade(rng), rng))) for _ in range(5)]
    files += [(44, b"<html>404</html>"), (22, jpeg(view(facade(rng), rng))[:-2000])]
    ids = [f"{rng.integers(1 << 63):016x}" for _ in files]
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    lines = [f"{i},http://x/{i},{landmark}" for i, (landmark, _) in zip(ids, files, strict=True)]
    (folder / "train.csv").write_text("\n".join(["id,url,landmark_id", *lines]) + "\n")
    for number in range(TARS):
        path = folder / f"train/images_{number:03d}.tar"
        with tarfile.open(path, "w") as tar:
            for image_id, (_, data) in list(zip(ids, files, strict=True))[number::TARS]:
                info = tarfile.TarInfo(f"{'/'.join(image_id[:3])}/{image_id}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        name = f"images_{number:03d}"
        (folder / f"md5sum/train/md5.{name}.txt").write_text(f"{md5}  {name}.tar\n")
