"""Match two photos of a root again, as the run does, and draw their matches."""

import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from pydantic import Field

from landmark_ray.config import Config
from landmark_ray.data.lookup import image_features
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import decode
from landmark_ray.kernels.matching import PairResult, match_pair, pair_seed
from landmark_ray.reports.match_drawing import draw
from landmark_ray.runtime import receipts


class ShowMatchConfig(Config):
    """Options of jobs/show_match.py; the options of the run are read from its ledger."""

    pair: tuple[str, str] = Field(description="image ids of the two photos: --pair A B")
    out: str | None = Field(
        None, description="PNG file to write; a file in ROOT/reports/matches when not given"
    )
    others: bool = Field(True, description="also draw matches that are not inliers")


@dataclass(frozen=True)
class Photo:
    """An image of the catalog, with the shard of its rows."""

    image_id: str
    landmark_id: int
    landmark: str
    bucket: int
    shard: int

    def row(self, root: Root, table: str) -> dict[str, Any] | None:
        """Read the image's row of a table, or None; only the row group that has it is read."""
        of_image = (pads.field("landmark_id") == self.landmark_id) & (
            pads.field("image_id") == self.image_id
        )
        return first(select(root, root.name(table, self.bucket, self.shard), of_image))


def select(root: Root, name: str, where: pads.Expression) -> list[dict[str, Any]]:
    """Read the rows of a table, or of one of its files, that meet a condition.

    Raises:
        UserError: A file is missing or damaged.
    """
    try:
        return root.dataset(name).to_table(filter=where).to_pylist()
    except FileNotFoundError:
        problem = "is missing"
    except (pa.ArrowException, OSError) as error:
        problem = f"is damaged ({error})"
    raise UserError(f"{root.uri}/{name} {problem}: run its stage again with --redo")


def first(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first row, or None."""
    return rows[0] if rows else None


def find_photos(root: Root, image_ids: Sequence[str]) -> list[Photo]:
    """Find images in the catalog by their ids.

    Raises:
        UserError: The catalog does not have one of them.
    """
    rows = {
        row["image_id"]: row
        for row in select(root, "catalog", pads.field("image_id").isin(image_ids))
    }
    for image_id in image_ids:
        if image_id not in rows:
            raise UserError(
                f"--pair: {root.uri} has no image {image_id}: the id is mistyped, or the stage "
                "sample left the image out; the ids are in the table catalog"
            )
    landmarks = [rows[i]["landmark_id"] for i in image_ids]
    named = select(root, "landmarks", pads.field("landmark_id").isin(landmarks))
    names = {row["landmark_id"]: row["name"] for row in named}
    return [
        Photo(i, landmark, names.get(landmark, ""), rows[i]["bucket"], rows[i]["shard"])
        for i, landmark in zip(image_ids, landmarks, strict=True)
    ]


def read(root: Root, photo: Photo) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the rows of `images` and `features` of an image.

    Raises:
        UserError: A stage rejected the image; the message gives the reason.
    """
    image, features = (photo.row(root, table) for table in ("images", "features"))
    if image is not None and features is not None:
        return image, features
    stage = "ingest" if image is None else "extract"
    rejects = f"rejects/stage={stage}"
    reject = None
    if root.exists(root.name(rejects, photo.bucket, photo.shard)):
        reject = photo.row(root, rejects)
    reason = f": {reject['reason']}" if reject else ""
    raise UserError(
        f"--pair: the stage {stage} rejected {photo.image_id}{reason}; choose another image from "
        "the table features"
    )


def lookup_pair(root: Root, a: Photo, b: Photo) -> dict[str, Any] | None:
    """Read the row of a pair in `pairs`, or None if the run did not match it."""
    of_pair = (
        (pads.field("landmark_id") == a.landmark_id)
        & (pads.field("image_a") == a.image_id)
        & (pads.field("image_b") == b.image_id)
    )
    return first(select(root, root.name("pairs", a.bucket, a.shard), of_pair))


def caption(a: Photo, b: Photo, result: PairResult, min_inliers: int) -> str:
    """Return the lines of text above the picture."""
    names = [f"{p.landmark or 'landmark'} ({p.landmark_id})" for p in (a, b)]
    same = a.landmark_id == b.landmark_id
    return "\n".join(
        [
            names[0] if same else f"different landmarks: {names[0]} and {names[1]}",
            f"left {a.image_id}, right {b.image_id}",
            f"{'' if result.inliers >= min_inliers else 'not '}verified: {result.inliers} inliers "
            f"({min_inliers} verify a pair) from {result.putative} putative matches",
        ]
    )


def show_match(config: ShowMatchConfig, root: Root) -> None:
    """Match two images as the run does, and write a picture of their matches.

    Raises:
        UserError: An id is unknown, or that of a rejected image, both ids are equal, or the file
            cannot be written.
    """
    if config.out and not config.out.lower().endswith(".png"):
        raise UserError(f"--out: the file must end in .png, got {config.out}")
    ids = sorted(config.pair)
    if ids[0] == ids[1]:
        raise UserError(f"--pair: {ids[0]} is given twice; give the ids of two images")
    a, b = find_photos(root, ids)
    (image_a, features_a), (image_b, features_b) = read(root, a), read(root, b)
    try:
        local_a, local_b = image_features(features_a), image_features(features_b)
        result = match_pair(
            local_a,
            local_b,
            config.match.rule(config.extract.extractor),
            stop_below=config.match.min_inliers,
            seed=pair_seed(ids[0], ids[1], config.seed),
        )
    except ValueError as error:
        raise UserError(f"the features of {ids[0]} or {ids[1]} are damaged: {error}") from None
    title = caption(a, b, result, config.match.min_inliers)
    picture = draw(
        decode(image_a["jpeg"]),
        decode(image_b["jpeg"]),
        local_a.keypoints[result.matches[:, 0], :2],
        local_b.keypoints[result.matches[:, 1], :2],
        result.inlier_mask,
        title,
        others=config.others,
    )
    data = io.BytesIO()
    picture.save(data, "PNG")
    names = "-".join(re.sub(r"[^\w.]", "_", photo.image_id) for photo in (a, b))
    out = config.out or f"{root.uri}/reports/matches/{names}.png"
    try:
        folder = Store(os.path.dirname(out) or ".")
        receipts.write(root, {os.path.basename(out): data.getvalue()}, folder)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written: {error.strerror or error}") from None
    print(title)
    row = lookup_pair(root, a, b) if a.landmark_id == b.landmark_id else None
    if row is None:
        print("the run did not match this pair")
    elif (row["putative"], row["inliers"]) != (result.putative, result.inliers):
        print(
            f"warning: the table pairs has {row['inliers']} inliers from {row['putative']} matches,"
            " which another version of this code found",
            file=sys.stderr,
        )
    print(f"picture: {out}")
