"""export: all that predicts, in one folder: networks, landmarks, thresholds, checksums.

With them lie a few photos and what the networks say of them here: whatever serves the bundle must
say the same.
"""

import json
import platform
from importlib.metadata import version as installed
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray import ledger, schemas
from landmark_ray.bundle import FINETUNED, GROUPS, HeadInfo, head_infos
from landmark_ray.config import STAGES, Config
from landmark_ray.funnel import Funnel
from landmark_ray.manifest import EVALUATION, FILE, LANDMARKS, REFERENCE, seal
from landmark_ray.reference import Reference
from landmark_ray.sources import Source
from landmark_ray.stages.cores import pin_tensorflow
from landmark_ray.stages.examples import pixels, read_examples
from landmark_ray.stages.shards import tried
from landmark_ray.storage import Folder, Tables

READS = ("evaluate", "train", "finetune", "trunk", "group", "sample")
WRITES = ("bundle",)

PHOTOS = 16
"""Of the reference, at most; see `reference_photos`."""

SOFTWARE = ("landmark_ray", "ray", "keras", "tensorflow", "numpy", "pillow")
REPORT = "reports/evaluation.json"


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write the bundle; its manifest last."""
    models = Folder(f"{tables.uri}/models")
    place = FINETUNED if "finetune" in config.train.phases else GROUPS
    infos = head_infos(models, place)
    bundle = Folder(config.export.to or f"{tables.uri}/bundle")
    bundle.delete(FILE)
    for name in bundle.files():
        bundle.delete(name)
    names = landmarks(tables)
    evaluation = tables.read_json(REPORT)
    bundle.write_table(LANDMARKS, names)
    bundle.write_json(EVALUATION, evaluation)
    for name in sorted({info.trunk for info in infos}):
        copy_trunk(models, name, bundle, bundled(name))
    for info in infos:
        copy_head(models, place, bundle, info)
    tried(config, reference_of, config, tables, place).write(bundle, REFERENCE)
    records = {stage: ledger.read(tables, stage) or {} for stage in STAGES[:-1]}
    manifest = seal(
        bundle,
        threshold=evaluation["validation"]["ensemble"]["threshold"],
        rejects_strangers=not evaluation["warning"],
        warning=evaluation["warning"],
        size=config.resize.size,
        min_side=config.ingest.min_side,
        max_megapixels=config.ingest.max_megapixels,
        max_megabytes=config.ingest.max_megabytes,
        floor=evaluation["floor"],
        landmarks=sum(len(info.landmarks) for info in infos),
        groups=[info.group for info in infos],
        metrics={k: evaluation[k]["ensemble"] for k in ("validation", "test") if k in evaluation},
        configuration={stage: record["identity"] for stage, record in records.items()},
        fingerprints={stage: record["fingerprint"] for stage, record in records.items()},
        software={"python": platform.python_version()} | {n: installed(n) for n in SOFTWARE},
    )
    funnel = Funnel(0, 0, len(names), manifest.landmarks)
    funnel.facts["files"] = len(manifest.files)
    print(f"Bundle {manifest.version}: {bundle.shown}")
    return funnel


def reference_of(config: Config, tables: Tables, place: str) -> Reference:
    """What the networks say of some examples, with the code that evaluates them, on a CPU."""
    pin_tensorflow()
    import tensorflow as tf

    from landmark_ray.ensemble import Ensemble

    with tf.device("CPU"):  # GPUs round more
        ensemble = Ensemble(Folder(f"{tables.uri}/models"), place)
        photos = reference_photos(config, tables, [info.group for info in ensemble.infos])
        return Reference(photos, ensemble.logits(ensemble.vectors(photos)))


def reference_photos(config: Config, tables: Tables, groups: list[int]) -> NDArray[np.uint8]:
    """Examples of each group and of the background, [N, size, size, 3], `PHOTOS` at most.

    Those that come first: few shards are read, however many there are.
    """
    each = max(PHOTOS // (len(groups) + 1), 1)
    found: dict[int, list[bytes]] = {group: [] for group in (*groups, 0)}
    for place in sorted(tables.committed("examples")):
        missing = {group for group in groups if len(found[group]) < each}
        if not missing:
            break
        if missing & set(tables.read_shard("examples", *place, ["group"])["group"].to_pylist()):
            rows = read_examples(tables, place, config.seed).sort_by("image_id")
            for group, jpeg in zip(*(rows[n].to_pylist() for n in ("group", "jpeg")), strict=True):
                if group in found and len(found[group]) < each:
                    found[group].append(jpeg)
    chosen = [jpeg for jpegs in found.values() for jpeg in jpegs][:PHOTOS]
    return np.stack([pixels(jpeg, config.resize.size) for jpeg in chosen])


def bundled(trunk: str) -> str:
    """Where a trunk of a root's models lies in a bundle."""
    return trunk.replace(FINETUNED, GROUPS)


def copy_trunk(models: Folder, name: str, bundle: Folder, to: str) -> None:
    """A trunk's two files."""
    for file in ("network.weights.h5", "network.json"):
        bundle.write(f"{to}/{file}", models.read(f"{name}/{file}"))


def copy_head(models: Folder, place: str, bundle: Folder, info: HeadInfo) -> None:
    """A head's two files; it names its trunk by its new place."""
    at, to = f"{place}/group={info.group}", f"{GROUPS}/group={info.group}"
    bundle.write(f"{to}/head.weights.h5", models.read(f"{at}/head.weights.h5"))
    value: dict[str, Any] = json.loads(models.read(f"{at}/head.json"))
    bundle.write_json(f"{to}/head.json", value | {"trunk": bundled(info.trunk)})


def landmarks(tables: Tables) -> pa.Table:
    """What the bundle knows of its landmarks."""
    examples = tables.dataset("examples").to_table(["landmark_id", "group"])
    counts = examples.group_by(["landmark_id", "group"]).aggregate([([], "count_all")])
    names = tables.dataset("landmarks").to_table(["landmark_id", "name"])
    rows = counts.join(names, "landmark_id").rename_columns({"count_all": "images"})
    rows = rows.select(schemas.BUNDLED.names).sort_by("landmark_id")
    filled = rows["name"].fill_null("")
    return rows.set_column(1, "name", filled).cast(schemas.BUNDLED)
