"""A small dataset of drawn landmarks in GLDv2's on-disk layout, to try the pipeline on.

    python -m landmark_ray.demo --out DIR [--seed 0] [--scale 1] [--sheet FILE.png]

It draws invented buildings and photographs of them: at scale 1, 25 landmarks on about 1,100
training and 130 test images (55 MB), in about half a minute on two cores. Cleaned, the classes fill
all eleven size groups twice; scale n draws n times as many landmarks. Among the photos lie what a
pipeline must cope with: scenes of other things filed under a landmark, duplicates, classes too
small to use, files in odd formats and broken files. `truth.csv` tells tests which is which.

The same seed and scale give the same bytes, whatever the number of processes.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from landmark_ray.demo.building import build
from landmark_ray.demo.drawing import Image
from landmark_ray.demo.layout_plan import FULL, Landmark, Plan, Shot, choose_landmarks, choose_shots
from landmark_ray.demo.non_landmarks import other_scene
from landmark_ray.demo.scenes import photograph


def broken_file(detail: str, jpeg: bytes) -> bytes:
    """Make a file that no pipeline should decode: one of `CORRUPT`."""
    if detail == "truncated":
        return jpeg[: len(jpeg) // 3]
    if detail == "pixel_bomb":
        return pixel_bomb(30_000)
    return {
        "empty": b"",
        "text": b"<html><body>404 Not Found</body></html>\n",
        "header_only": jpeg[:2],
        "one_pixel": encode(Pillow.new("RGB", (1, 1)), "JPEG"),
    }[detail]


def pixel_bomb(side: int) -> bytes:
    """Write a black PNG of `side` x `side` pixels without ever holding them."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])  # one bit of grey a pixel
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        png += len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)
    return png


def encode(image: Pillow.Image, encoding: str, **options: object) -> bytes:
    """Encode an image in a format that Pillow knows."""
    file = io.BytesIO()
    image.save(file, encoding, **options)
    return file.getvalue()


def odd_file(detail: str, image: Pillow.Image) -> bytes:
    """Encode a photo in a way that needs care to decode: one of `ODD`."""
    if detail == "exif_rotated":
        exif = Pillow.Exif()
        exif[0x0112] = 6  # "turn a quarter clockwise to see it upright"
        return encode(image.transpose(Pillow.Transpose.ROTATE_90), "JPEG", quality=85, exif=exif)
    if detail == "rgba_png":
        image.putalpha(255)
    colours = {"grey": "L", "cmyk": "CMYK"}
    encodings = {"rgba_png": "PNG", "palette_png": "PNG", "webp": "WEBP"}
    if detail == "palette_png":
        image = image.quantize(64)
    return encode(image.convert(colours.get(detail, image.mode)), encodings.get(detail, "JPEG"))


def make_file(shot: Shot, picture: Image) -> bytes:
    """Encode what a shot shows, (height, width, 3), as its kind wants it."""
    image = Pillow.fromarray(picture)
    if shot.kind == "odd":
        return odd_file(shot.detail, image)
    if shot.kind == "duplicate":
        smaller = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        return encode(smaller, "JPEG", quality=70)
    jpeg = encode(image, "JPEG", quality=85)
    return broken_file(shot.detail, jpeg) if shot.kind == "corrupt" else jpeg


def make_files(
    seed: int, task: tuple[int, Landmark | None, Sequence[Shot]]
) -> list[tuple[Shot, bytes]]:
    """Draw all shots of one landmark, or (None) of other scenes; `task` starts with its number."""
    number, landmark, shots = task
    if landmark is not None:
        planes = build(np.random.default_rng((seed, number, 0)), landmark.kind, landmark.palette)
    made = []
    for shot in shots:
        rng = np.random.default_rng((seed, number, shot.view + 1))
        picture = other_scene(rng) if landmark is None else photograph(planes, rng)
        made.append((shot, make_file(shot, picture)))
    return made


def image_id(seed: int, shot: Shot) -> str:
    """Name a shot by 16 hexadecimal digits."""
    return hashlib.blake2b(f"{seed} {shot.split} {shot.url}".encode(), digest_size=8).hexdigest()


def write_table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


MOST_TARS = 600
"""Number of tars at most, as all are open at once: a process may often open 1,024 files only."""


def write_tars(
    folder: Path,
    files: Iterable[tuple[str, str, bytes]],
    tars: dict[str, int],
    rng: np.random.Generator,
) -> None:
    """Spread files (split, id, content) over so many tars a split, and write the tars' sums."""
    paths = {
        split: [folder / split / f"images_{number:03d}.tar" for number in range(count)]
        for split, count in tars.items()
    }
    with ExitStack() as stack:
        opened = {}
        for split in tars:
            (folder / split).mkdir()
            (folder / "md5sum" / split).mkdir(parents=True)
            for path in paths[split]:
                opened[path] = stack.enter_context(
                    tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)
                )
        for split, name, content in files:
            member = tarfile.TarInfo(f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg")
            member.size = len(content)
            opened[paths[split][rng.integers(tars[split])]].addfile(member, io.BytesIO(content))
    for path in opened:
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        sums = folder / "md5sum" / path.parent.name / f"md5.{path.stem}.txt"
        sums.write_text(f"{digest}  {path.name}\n")


def draw_dataset(folder: Path, plan: Plan, seed: int, scale: int, processes: int) -> None:
    """Draw the whole dataset into a new folder."""
    rng = np.random.default_rng((seed, 0, 0, 1))
    landmarks = choose_landmarks(rng, (len(plan.sizes) + len(plan.small)) * scale)
    shots = choose_shots(rng, plan, scale)
    folder.mkdir()

    ids = {shot: image_id(seed, shot) for shot in shots}
    filed = {s: "" if s.landmark is None else landmarks[s.landmark].landmark_id for s in shots}
    mixed = [shots[place] for place in rng.permutation(len(shots))]
    train, test = ([s for s in mixed if s.split == split] for split in ("train", "test"))
    write_table(
        folder / "train.csv", "id,url,landmark_id", ((ids[s], s.url, filed[s]) for s in train)
    )
    write_table(folder / "test.csv", "id", ((ids[s],) for s in test))
    solution = ((ids[s], filed[s], "Private" if i % 3 else "Public") for i, s in enumerate(test))
    write_table(folder / "recognition_solution.csv", "id,landmarks,Usage", solution)
    truth = ((ids[s], filed[s], s.kind, s.detail) for s in shots if s.split == "train")
    write_table(folder / "truth.csv", "id,landmark_id,kind,detail", truth)
    commons = "http://commons.wikimedia.org/wiki/Category:"
    names = sorted((mark.landmark_id, commons + mark.name) for mark in landmarks)
    write_table(folder / "train_label_to_category.csv", "landmark_id,category", names)

    with multiprocessing.get_context("spawn").Pool(
        processes, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        made = pool.imap(partial(make_files, seed), tasks(landmarks, shots))
        files = ((shot.split, ids[shot], content) for done in made for shot, content in done)
        tars = min(scale, MOST_TARS // 6)
        write_tars(folder, files, {"train": 4 * tars, "test": 2 * tars}, rng)


def tasks(
    landmarks: list[Landmark], shots: list[Shot]
) -> Iterator[tuple[int, Landmark | None, list[Shot]]]:
    """Gather the shots of each subject, the largest first so that no process ends long after."""
    subjects: dict[int | None, list[Shot]] = defaultdict(list)
    for shot in shots:
        subjects[shot.subject].append(shot)
    for subject, group in sorted(subjects.items(), key=lambda pair: -len(pair[1])):
        if subject is None:
            yield len(landmarks), None, group
        else:
            yield subject, landmarks[subject], group


def draw(
    out: Path, *, seed: int = 0, scale: int = 1, processes: int | None = None, plan: Plan = FULL
) -> None:
    """Draw a dataset into a folder, which appears complete or not at all.

    Args:
        out: folder; left alone when it already holds the dataset asked for.
        seed: of everything that is left to chance.
        scale: so many times as many landmarks and other images.
        processes: that draw at once; as many as there are cores by default.
        plan: what a dataset of scale 1 holds.

    Raises:
        ValueError: the seed is below 0, the scale below 1, or the folder holds something else.
    """
    for name, value, least in (("seed", seed, 0), ("scale", scale, 1)):
        if value < least:
            raise ValueError(f"the {name} must be at least {least}, got {value}")
    wanted = {"dataset": "landmark_ray.demo", "seed": seed, "scale": scale, "plan": asdict(plan)}
    note = json.dumps(wanted, indent=1) + "\n"
    if out.is_file() or (out.exists() and any(out.iterdir())):
        label = out / "demo.json"
        if label.exists() and label.read_text() == note:
            print(f"{out} already holds this dataset: nothing to draw")
            return
        raise ValueError(f"{out} holds something else: give --out a new folder, or remove this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside) / "dataset"
        draw_dataset(folder, plan, seed, scale, processes or len(os.sched_getaffinity(0)))
        (folder / "demo.json").write_text(note)
        folder.rename(out)
    print(f"{out} holds the drawn dataset of seed {seed}, scale {scale}")
