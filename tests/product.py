"""A product without Ray and models, for tests of what it deletes: all but the stages' work is real.

`sample` is real, too; the other stages write files of the names that they have, and no more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmark_ray import pipeline
from landmark_ray.bundle import landmark_index, manifest
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.reports import curation_page, evaluation_page, funnel_chart
from landmark_ray.runtime import receipts
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.stage import nothing_to_check
from landmark_ray.stages import export
from tests.drawn import jpeg

HEAD = ("head.weights.h5", "head.json")
NETWORK = ("network.weights.h5", "network.json")
WRITTEN = {
    "ingest": (
        "_staging/ingest/fragments/bucket=0/train_images_000.tar-000.parquet",
        "_ledger/archives/files-000000.json",
        "_staging/attempts/ingest/files-000000.json",
        "images/bucket=0/shard-00000.parquet",
        "rejects/stage=ingest/bucket=0/shard-00000.parquet",
    ),
    "match": ("_staging/match/7/0-1.parquet", "pairs/bucket=0/shard-00000.parquet"),
    "describe": (
        *(f"models/pretrained/{name}" for name in NETWORK),
        "descriptors/bucket=0/shard-00000.parquet",
        "rejects/stage=describe/bucket=0/shard-00000.parquet",
    ),
    "index": tuple(f"models/index/{name}" for name in landmark_index.FILES),
    "trunk": (
        "_staging/train/trunk/checkpoint_1/model.keras",
        "models/trunk/history.json",
        *(f"models/trunk/{name}" for name in NETWORK),
    ),
    "train": (
        "_staging/train/group-1/.validate_storage_marker",
        *(f"models/{place}/group=1/{name}" for place in ("groups", "closed") for name in HEAD),
    ),
    "finetune": tuple(f"models/finetuned/group=1/{name}" for name in (*HEAD, *NETWORK)),
}
CLEARED = {
    "ingest": ("_staging/ingest",),
    "match": ("_staging/match",),
    **dict.fromkeys(("trunk", "train", "finetune"), ("_staging/train",)),
}
BUNDLED = {
    manifest.LANDMARKS: b"names",
    manifest.EVALUATION: b"{}",
    "trunk/network.json": b"{}",
    "groups/group=1/head.json": b"{}",
}


def names(stage: str) -> tuple[str, ...]:
    """What a stage writes in the root."""
    tables = pipeline.PIPELINE[stage].writes
    shards = tuple(f"{table}/bucket=0/shard-00000.parquet" for table in tables)
    return WRITTEN.get(stage, shards)


def stand_in(stage: str):
    """The work of a stage: its files, with bytes that follow from its options."""

    def run(config: Config, root: Root, source: object) -> StageCounts:
        if stage == "export":
            bundled(config, root)
        else:
            for name in names(stage):
                if not root.exists(name):
                    root.write(name, f"{stage} {name} {config.config_key(stage)}".encode())
        if stage == "evaluate":
            receipts.write(root, {n: str(config.seed).encode() for n in evaluation_page.FILES})
        if stage in CLEARED:
            root.delete(*CLEARED[stage])
        return StageCounts(8, 8, 1, 1)

    return run


def bundled(config: Config, root: Root) -> None:
    """What export does."""
    bundle, ours = export.bundle_folder(config, root)
    manifest.clear(bundle, [manifest.FILE, *BUNDLED], ours)
    for name, data in BUNDLED.items():
        bundle.write(name, data + str(config.seed).encode())
    numbers = ("size", "min_side", "max_megapixels", "max_megabytes", "landmarks")
    plain = ("metrics", "configuration", "fingerprints", "software")
    manifest.seal(
        bundle,
        threshold=0.5,
        rejection_floor=0.1,
        groups=[1],
        **dict.fromkeys(numbers, 1),
        **{name: {} for name in plain},
    )


@contextmanager
def quick() -> Iterator[None]:
    """Stand-ins for all stages but sample."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES[1:]:
            quicker = replace(pipeline.PIPELINE[stage], run=stand_in(stage), check=nothing_to_check)
            patch.setitem(pipeline.PIPELINE, stage, quicker)
        patch.setattr(curation_page, "page", lambda root, config: f"page {config.seed}")
        patch.setattr(funnel_chart, "draw", lambda records: f"picture of {len(records)}".encode())
        patch.setattr(funnel_chart, "show", lambda records: None)
        patch.setattr("os.fsync", lambda file: None)
        yield


def photos(folder: Path) -> Path:
    """A source: 8 photos of a landmark."""
    (folder / "tower").mkdir(parents=True)
    for number in range(8):
        (folder / f"tower/p{number}.jpg").write_bytes(jpeg(np.full((8, 8, 3), number, np.uint8)))
    return folder


def run(source: Path, root: object, first: str = "sample", last: str = "export", **more) -> None:
    """jobs/pipeline.py --from FIRST --to LAST."""
    config = Config(source=str(source), root=str(root), **more)
    stages = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    pipeline.run(config, stages)


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tables_of(root: Path) -> dict[str, bytes]:
    """All files but those with seconds, which differ, and what the reports' writers left half."""
    other = ("_ledger/", "reports/funnel.json", "reports/.")
    return {name: data for name, data in files(root).items() if not name.startswith(other)}
