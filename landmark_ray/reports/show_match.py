"""Two photos of a root, and what matches: they are matched again as the run does it."""

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
    """Options of jobs/show_match.py; those of the run come from its ledger."""

    pair: tuple[str, str] = Field(description="image ids of the two photos: --pair A B")
    out: str | None = Field(
        None, description="PNG file to write; one in the root's reports/matches when not given"
    )
    others: bool = Field(True, description="draw the matches that are no inliers, too")


@dataclass(frozen=True)
class Photo:
    """An image of the catalog, and where its rows lie."""

    image_id: str
    landmark_id: int
    landmark: str
    bucket: int
    shard: int

    def row(self, tables: Root, table: str) -> dict[str, Any] | None:
        """Its row of a table, if there is one; no more than that row's group is read."""
        own = (pads.field("landmark_id") == self.landmark_id) & (
            pads.field("image_id") == self.image_id
        )
        return first(select(tables, tables.name(table, self.bucket, self.shard), own))


def select(tables: Root, name: str, where: pads.Expression) -> list[dict[str, Any]]:
    """The rows of a table, or of one of its files, for which something holds.

    Raises:
        UserError: a file is missing or damaged, and which.
    """
    try:
        return tables.dataset(name).to_table(filter=where).to_pylist()
    except FileNotFoundError:
        problem = "is missing"
    except (pa.ArrowException, OSError) as error:
        problem = f"is damaged ({error})"
    raise UserError(f"{tables.uri}/{name} {problem}: run its stage again with --redo")


def first(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first row, if there is any."""
    return rows[0] if rows else None


def find(tables: Root, image_ids: Sequence[str]) -> list[Photo]:
    """Images of the catalog.

    Raises:
        UserError: there is none with one of the ids.
    """
    rows = select(tables, "catalog", pads.field("image_id").isin(image_ids))
    places = {row["image_id"]: row for row in rows}
    for image_id in image_ids:
        if image_id not in places:
            raise UserError(
                f"--pair: {tables.uri} has no image {image_id}: mistyped, or left out by the stage "
                "sample; the ids are in the table catalog"
            )
    landmarks = [places[i]["landmark_id"] for i in image_ids]
    found = select(tables, "landmarks", pads.field("landmark_id").isin(landmarks))
    names = {row["landmark_id"]: row["name"] for row in found}
    return [
        Photo(i, landmark, names.get(landmark, ""), places[i]["bucket"], places[i]["shard"])
        for i, landmark in zip(image_ids, landmarks, strict=True)
    ]


def read(tables: Root, photo: Photo) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of `images` and `features` of an image.

    Raises:
        UserError: a stage rejected it, and why.
    """
    image, features = (photo.row(tables, table) for table in ("images", "features"))
    if image is not None and features is not None:
        return image, features
    stage = "ingest" if image is None else "extract"
    rejects = f"rejects/stage={stage}"
    reject = None
    if tables.exists(tables.name(rejects, photo.bucket, photo.shard)):
        reject = photo.row(tables, rejects)
    why = f": {reject['reason']}" if reject else ""
    raise UserError(
        f"--pair: the stage {stage} rejected {photo.image_id}{why}; choose another image, one of "
        "the table features"
    )


def stored(tables: Root, a: Photo, b: Photo) -> dict[str, Any] | None:
    """The pair's row of `pairs`, if the run tried it."""
    own = (
        (pads.field("landmark_id") == a.landmark_id)
        & (pads.field("image_a") == a.image_id)
        & (pads.field("image_b") == b.image_id)
    )
    return first(select(tables, tables.name("pairs", a.bucket, a.shard), own))


def caption(a: Photo, b: Photo, result: PairResult, min_inliers: int) -> str:
    """The lines above the picture."""
    names = [f"{p.landmark or 'landmark'} ({p.landmark_id})" for p in (a, b)]
    alike = a.landmark_id == b.landmark_id
    return "\n".join(
        [
            names[0] if alike else f"different landmarks: {names[0]} and {names[1]}",
            f"left {a.image_id}, right {b.image_id}",
            f"{'' if result.inliers >= min_inliers else 'not '}verified: {result.inliers} inliers "
            f"({min_inliers} verify a pair) from {result.putative} putative matches",
        ]
    )


def show_match(config: ShowMatchConfig, tables: Root) -> None:
    """Match two images as the run does, and draw what is found.

    Raises:
        UserError: the ids are unknown, equal, or of rejected images; the file can't be written.
    """
    if config.out and not config.out.lower().endswith(".png"):
        raise UserError(f"--out: the file must end in .png, got {config.out}")
    ids = sorted(config.pair)
    if ids[0] == ids[1]:
        raise UserError(f"--pair: {ids[0]} is given twice; give the ids of two images")
    a, b = find(tables, ids)
    (image_a, features_a), (image_b, features_b) = read(tables, a), read(tables, b)
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
    out = config.out or f"{tables.uri}/reports/matches/{names}.png"
    try:
        place = Store(os.path.dirname(out) or ".")
        receipts.write(tables, {os.path.basename(out): data.getvalue()}, place)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written: {error.strerror or error}") from None
    print(title)
    row = stored(tables, a, b) if a.landmark_id == b.landmark_id else None
    if row is None:
        print("the run did not try this pair")
    elif (row["putative"], row["inliers"]) != (result.putative, result.inliers):
        print(
            f"warning: the table pairs has {row['inliers']} inliers from {row['putative']} matches:"
            " made by another version of this code",
            file=sys.stderr,
        )
    print(f"picture in {out}")
