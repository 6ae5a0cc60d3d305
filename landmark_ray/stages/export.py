"""export: write all that prediction needs into one folder, the bundle.

The bundle holds networks, landmarks, thresholds and checksums. It also holds a few photos with the
answers of the networks; a process that serves the bundle must give the same answers.
"""

import json
import platform
from collections import Counter
from importlib.metadata import version as installed
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from landmark_ray.bundle.exemplar_files import files_of as exemplar_files
from landmark_ray.bundle.landmark_index import FILES as INDEX_FILES
from landmark_ray.bundle.landmark_index import FUSION, INDEX, write_fusion
from landmark_ray.bundle.manifest import (
    CARD,
    EVALUATION,
    FILE,
    LANDMARKS,
    PROVENANCE,
    REFERENCE,
    clear,
    owned,
    seal,
)
from landmark_ray.bundle.multihead import FEATURES
from landmark_ray.bundle.network_files import (
    FINETUNED,
    GROUPS,
    TRUNK,
    TRUNK_FILES,
    HeadInfo,
    copy_trunk,
    head_infos,
    heads_folder,
)
from landmark_ray.bundle.reference import Reference
from landmark_ray.config import STAGES, Config
from landmark_ray.data import bundle_schemas, deletion, layout
from landmark_ray.data.attribution import attribution_of
from landmark_ray.data.deletion import Ours
from landmark_ray.data.examples import pixels, read_examples
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.fusion import Fusion
from landmark_ray.reports import model_card
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import probe_on_cluster

PHOTOS = 16
"""The largest number of reference photos, see `reference_photos`."""

SOFTWARE = ("landmark_ray", "ray", "keras", "tensorflow", "numpy", "pillow")
REPORT = "reports/evaluation.json"
HEAD_FILES = ("head.weights.h5", "head.json")


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write the bundle, with the manifest last."""
    models = root.models
    subfolder = heads_folder(config)
    infos = head_infos(models, subfolder)
    bundle, ours = bundle_folder(config, root)
    trunks = sorted({TRUNK, *(info.trunk for info in infos)})  # TRUNK describes photos to the index
    files = [*files_of(trunks, infos), *(f"{INDEX}/{file}" for file in INDEX_FILES), FUSION]
    files += exemplar_files(models)
    clear(bundle, [FILE, LANDMARKS, EVALUATION, REFERENCE, PROVENANCE, CARD, *files], ours)
    names = landmarks(root)
    evaluation = root.read_json(REPORT)
    heads = evaluation.get("heads", {})  # older versions did not measure these
    bundle.write_table(LANDMARKS, names)
    bundle.write_json(EVALUATION, evaluation)
    for name in trunks:
        copy_trunk(models, name, bundle, bundled(name))
    for info in infos:
        copy_head(models, subfolder, bundle, info)
    for file in INDEX_FILES:
        bundle.write(f"{INDEX}/{file}", models.read(f"{INDEX}/{file}"))
    for file in exemplar_files(models):
        bundle.write(file, models.read(file))
    write_fusion(bundle, TypeAdapter(Fusion).validate_python(evaluation["fusion"]))
    probe_on_cluster(config, reference_of, config, root, subfolder).write(bundle, REFERENCE)
    records: dict[str, ledger.Record] = {
        stage: ledger.read(root, stage) or {} for stage in STAGES[:-1]
    }
    licences, notes = licences_of(source, root)
    curated: dict[str, Any] = {
        stage: records[stage]["funnel"] for stage in STAGES[: STAGES.index("trunk")]
    }
    bundle.write_json(PROVENANCE, model_card.provenance(curated, licences))
    fields: dict[str, Any] = dict(
        threshold=evaluation["validation"]["ensemble"]["threshold"],
        rejects_strangers=not evaluation["warning"],
        warning=evaluation["warning"],
        size=config.resize.size,
        fit=config.resize.fit,
        min_side=config.ingest.min_side,
        max_megapixels=config.ingest.max_megapixels,
        max_megabytes=config.ingest.max_megabytes,
        rejection_floor=evaluation["floor"],
        heads_threshold=heads.get("threshold"),
        heads_floor=heads.get("floor"),
        landmarks=sum(len(info.landmarks) for info in infos),
        groups=[info.group for info in infos],
        metrics={k: evaluation[k]["ensemble"] for k in ("validation", "test") if k in evaluation},
        configuration={stage: record["identity"] for stage, record in records.items()},
        fingerprints={stage: record["fingerprint"] for stage, record in records.items()},
        software={"python": platform.python_version()} | {n: installed(n) for n in SOFTWARE},
    )
    model_card.write_card(bundle, fields)
    manifest = seal(bundle, **fields)
    counts = StageCounts(0, 0, len(names), manifest.landmarks, notes=notes)
    counts.counters["files"] = len(manifest.files)
    print(f"Bundle {manifest.version}: {bundle.shown}")
    return counts


def licences_of(source: Source, root: Root) -> tuple[Counter[str] | None, list[str]]:
    """Count the licences of the photos that the models learned from, as the source names them.

    Returns:
        Licence -> number of photos, "" for those without; None if the source names no licence. And
        warnings, if its list is malformed.
    """
    ids = root.dataset("examples").to_table(["image_id"])["image_id"].combine_chunks()
    try:
        licences = attribution_of(source, ids)[1].to_pylist()
    except UserError as error:
        return None, [f"the model card has no licences: {error}"]
    return Counter(licence or "" for licence in licences) if any(licences) else None, []


def reference_of(config: Config, root: Root, subfolder: str) -> Reference:
    """Compute the answers of the networks for some examples on a CPU, as `evaluate` does."""
    pin_tensorflow()
    import keras

    from landmark_ray.bundle.ensemble import Ensemble

    with keras.device("cpu"):  # a GPU computes with less precision
        ensemble = Ensemble(root.models, subfolder)
        photos = reference_photos(config, root, [info.group for info in ensemble.infos])
        vectors = ensemble.vectors(photos, sorted({TRUNK, *ensemble.trunks}))
        return Reference(photos, ensemble.logits(vectors) | {FEATURES: vectors[TRUNK]})


def reference_photos(config: Config, root: Root, groups: list[int]) -> NDArray[np.uint8]:
    """Choose examples of each group and of the background, in the order of shards and ids.

    Because the first ones are taken, only a few shards are read.

    Returns:
        [N, size, size, 3] uint8 RGB, at most PHOTOS photos.
    """
    per_group = max(PHOTOS // (len(groups) + 1), 1)
    jpegs: dict[int, list[bytes]] = {group: [] for group in (*groups, 0)}
    for key in sorted(root.committed("examples")):
        missing = {group for group in groups if len(jpegs[group]) < per_group}
        if not missing:
            break
        if missing & set(root.read_shard("examples", *key, ["group"])["group"].to_pylist()):
            rows = read_examples(root, key, config.seed).sort_by("image_id")
            for group, jpeg in zip(*(rows[n].to_pylist() for n in ("group", "jpeg")), strict=True):
                if group in jpegs and len(jpegs[group]) < per_group:
                    jpegs[group].append(jpeg)
    chosen = [jpeg for of_group in jpegs.values() for jpeg in of_group][:PHOTOS]
    return np.stack([pixels(jpeg, config.resize.size) for jpeg in chosen])


def bundle_folder(config: Config, root: Root) -> tuple[Store, Ours]:
    """Return the folder of the bundle, and a function that tells which of its files are ours.

    In the root, our files are known by their names; elsewhere, by the list that an export noted.
    """
    if config.export.to:
        bundle = Store(config.export.to)
        return bundle, owned(bundle).__contains__
    return Store(f"{root.uri}/bundle"), lambda name: layout.ours(f"bundle/{name}")


def check(config: Config, root: Root) -> None:
    """Make sure that the folder of the bundle may be overwritten.

    Raises:
        UserError: It holds files that no export wrote.
    """
    bundle, ours = bundle_folder(config, root)
    deletion.check_ours(bundle, "", ours=ours)


def files_of(trunks: list[str], infos: list[HeadInfo]) -> list[str]:
    """List the names of the files of trunks and heads in a bundle."""
    return [
        *(f"{bundled(trunk)}/{file}" for trunk in trunks for file in TRUNK_FILES),
        *(f"{GROUPS}/group={info.group}/{file}" for info in infos for file in HEAD_FILES),
    ]


def bundled(trunk: str) -> str:
    """Return the folder in a bundle of a trunk that `models` in a root holds."""
    return trunk.replace(FINETUNED, GROUPS)


def copy_head(models: Store, subfolder: str, bundle: Store, info: HeadInfo) -> None:
    """Copy the two files of a head, and change the name of its trunk to that in the bundle."""
    origin, target = f"{subfolder}/group={info.group}", f"{GROUPS}/group={info.group}"
    weights, description = HEAD_FILES
    bundle.write(f"{target}/{weights}", models.read(f"{origin}/{weights}"))
    value: dict[str, Any] = json.loads(models.read(f"{origin}/{description}"))
    bundle.write_json(f"{target}/{description}", value | {"trunk": bundled(info.trunk)})


def landmarks(root: Root) -> pa.Table:
    """Read the rows of the bundle's table of landmarks, sorted by id."""
    examples = root.dataset("examples").to_table(["landmark_id", "group"])
    counts = examples.group_by(["landmark_id", "group"]).aggregate([([], "count_all")])
    names = root.dataset("landmarks").to_table(["landmark_id", "name"])
    rows = counts.join(names, "landmark_id").rename_columns({"count_all": "images"})
    rows = rows.select(bundle_schemas.BUNDLED.names).sort_by("landmark_id")
    filled = rows["name"].fill_null("")
    return rows.set_column(1, "name", filled).cast(bundle_schemas.BUNDLED)


STAGE = Stage(
    "export",
    reads=(
        "predictions",
        "models/groups",
        "models/finetuned",
        "models/trunk",
        "models/index",
        "models/exemplars",
        "examples",
        "landmarks",
    ),
    writes=("bundle",),
    run=run,
)
