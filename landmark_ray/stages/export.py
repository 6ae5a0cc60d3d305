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

from landmark_ray.bundle.manifest import EVALUATION, FILE, LANDMARKS, REFERENCE, clear, owned, seal
from landmark_ray.bundle.network_files import FINETUNED, GROUPS, HeadInfo, head_infos
from landmark_ray.bundle.reference import Reference
from landmark_ray.config import STAGES, Config
from landmark_ray.data import deletion, layout, schemas
from landmark_ray.data.deletion import Ours
from landmark_ray.data.examples import pixels, read_examples
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import probe_on_cluster

PHOTOS = 16
"""Of the reference, at most; see `reference_photos`."""

SOFTWARE = ("landmark_ray", "ray", "keras", "tensorflow", "numpy", "pillow")
REPORT = "reports/evaluation.json"
TRUNK_FILES = ("network.weights.h5", "network.json")
HEAD_FILES = ("head.weights.h5", "head.json")


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write the bundle; its manifest last."""
    models = Store(f"{tables.uri}/models")
    place = FINETUNED if "finetune" in config.train.phases else GROUPS
    infos = head_infos(models, place)
    bundle, ours = place_of(config, tables)
    trunks = sorted({info.trunk for info in infos})
    clear(bundle, [FILE, LANDMARKS, EVALUATION, REFERENCE, *files_of(trunks, infos)], ours)
    names = landmarks(tables)
    evaluation = tables.read_json(REPORT)
    bundle.write_table(LANDMARKS, names)
    bundle.write_json(EVALUATION, evaluation)
    for name in trunks:
        copy_trunk(models, name, bundle, bundled(name))
    for info in infos:
        copy_head(models, place, bundle, info)
    probe_on_cluster(config, reference_of, config, tables, place).write(bundle, REFERENCE)
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
        rejection_floor=evaluation["floor"],
        landmarks=sum(len(info.landmarks) for info in infos),
        groups=[info.group for info in infos],
        metrics={k: evaluation[k]["ensemble"] for k in ("validation", "test") if k in evaluation},
        configuration={stage: record["identity"] for stage, record in records.items()},
        fingerprints={stage: record["fingerprint"] for stage, record in records.items()},
        software={"python": platform.python_version()} | {n: installed(n) for n in SOFTWARE},
    )
    funnel = StageCounts(0, 0, len(names), manifest.landmarks)
    funnel.facts["files"] = len(manifest.files)
    print(f"Bundle {manifest.version}: {bundle.shown}")
    return funnel


def reference_of(config: Config, tables: Root, place: str) -> Reference:
    """What the networks say of some examples, with the code that evaluates them, on a CPU."""
    pin_tensorflow()
    import tensorflow as tf

    from landmark_ray.bundle.ensemble import Ensemble

    with tf.device("CPU"):  # GPUs round more
        ensemble = Ensemble(Store(f"{tables.uri}/models"), place)
        photos = reference_photos(config, tables, [info.group for info in ensemble.infos])
        return Reference(photos, ensemble.logits(ensemble.vectors(photos)))


def reference_photos(config: Config, tables: Root, groups: list[int]) -> NDArray[np.uint8]:
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


def place_of(config: Config, tables: Root) -> tuple[Store, Ours]:
    """The bundle's folder, and which of its files are ours.

    In the root these are known by their names, elsewhere by what an export has noted there.
    """
    if config.export.to:
        bundle = Store(config.export.to)
        return bundle, owned(bundle).__contains__
    return Store(f"{tables.uri}/bundle"), lambda name: layout.ours(f"bundle/{name}")


def check(config: Config, tables: Root) -> None:
    """Make sure that the bundle's folder may be written.

    Raises:
        UserError: it holds what no export wrote.
    """
    bundle, ours = place_of(config, tables)
    deletion.check_ours(bundle, "", ours=ours)


def files_of(trunks: list[str], infos: list[HeadInfo]) -> list[str]:
    """Names of the networks' files in a bundle."""
    return [
        *(f"{bundled(trunk)}/{file}" for trunk in trunks for file in TRUNK_FILES),
        *(f"{GROUPS}/group={info.group}/{file}" for info in infos for file in HEAD_FILES),
    ]


def bundled(trunk: str) -> str:
    """Where a trunk of a root's models lies in a bundle."""
    return trunk.replace(FINETUNED, GROUPS)


def copy_trunk(models: Store, name: str, bundle: Store, to: str) -> None:
    """A trunk's two files."""
    for file in TRUNK_FILES:
        bundle.write(f"{to}/{file}", models.read(f"{name}/{file}"))


def copy_head(models: Store, place: str, bundle: Store, info: HeadInfo) -> None:
    """A head's two files; it names its trunk by its new place."""
    at, to = f"{place}/group={info.group}", f"{GROUPS}/group={info.group}"
    weights, told = HEAD_FILES
    bundle.write(f"{to}/{weights}", models.read(f"{at}/{weights}"))
    value: dict[str, Any] = json.loads(models.read(f"{at}/{told}"))
    bundle.write_json(f"{to}/{told}", value | {"trunk": bundled(info.trunk)})


def landmarks(tables: Root) -> pa.Table:
    """What the bundle knows of its landmarks."""
    examples = tables.dataset("examples").to_table(["landmark_id", "group"])
    counts = examples.group_by(["landmark_id", "group"]).aggregate([([], "count_all")])
    names = tables.dataset("landmarks").to_table(["landmark_id", "name"])
    rows = counts.join(names, "landmark_id").rename_columns({"count_all": "images"})
    rows = rows.select(schemas.BUNDLED.names).sort_by("landmark_id")
    filled = rows["name"].fill_null("")
    return rows.set_column(1, "name", filled).cast(schemas.BUNDLED)


STAGE = Stage(
    "export",
    reads=(
        "predictions",
        "models/groups",
        "models/finetuned",
        "models/trunk",
        "examples",
        "landmarks",
    ),
    writes=("bundle",),
    run=run,
)
