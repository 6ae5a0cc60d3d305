"""export: all that predicts, in one folder: networks, landmarks, thresholds, checksums."""

import json
import platform
from importlib.metadata import version as installed
from typing import Any

import pyarrow as pa

from landmark_ray import deletion, ledger, places, schemas
from landmark_ray.bundle import FINETUNED, GROUPS, HeadInfo, head_infos
from landmark_ray.config import STAGES, Config
from landmark_ray.deletion import Ours
from landmark_ray.funnel import Funnel
from landmark_ray.manifest import EVALUATION, FILE, LANDMARKS, clear, owned, seal
from landmark_ray.sources import Source
from landmark_ray.storage import Folder, Tables

READS = ("evaluate", "train", "finetune", "trunk", "group", "sample")
WRITES = ("bundle",)

SOFTWARE = ("landmark_ray", "ray", "keras", "tensorflow", "numpy", "pillow")
REPORT = "reports/evaluation.json"
TRUNK_FILES = ("network.weights.h5", "network.json")
HEAD_FILES = ("head.weights.h5", "head.json")


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write the bundle; its manifest last."""
    models = Folder(f"{tables.uri}/models")
    place = FINETUNED if "finetune" in config.train.phases else GROUPS
    infos = head_infos(models, place)
    bundle, ours = place_of(config, tables)
    trunks = sorted({info.trunk for info in infos})
    clear(bundle, [FILE, LANDMARKS, EVALUATION, *files_of(trunks, infos)], ours)
    names = landmarks(tables)
    evaluation = tables.read_json(REPORT)
    bundle.write_table(LANDMARKS, names)
    bundle.write_json(EVALUATION, evaluation)
    for name in trunks:
        copy_trunk(models, name, bundle, bundled(name))
    for info in infos:
        copy_head(models, place, bundle, info)
    records = {stage: ledger.read(tables, stage) or {} for stage in STAGES[:-1]}
    manifest = seal(
        bundle,
        threshold=evaluation["validation"]["ensemble"].get("threshold", 0.0),
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


def place_of(config: Config, tables: Tables) -> tuple[Folder, Ours]:
    """The bundle's folder, and which of its files are ours.

    In the root these are known by their names, elsewhere by what an export has noted there.
    """
    if config.export.to:
        bundle = Folder(config.export.to)
        return bundle, owned(bundle).__contains__
    return Folder(f"{tables.uri}/bundle"), lambda name: places.ours(f"bundle/{name}")


def check(config: Config, tables: Tables) -> None:
    """Make sure that the bundle's folder may be written.

    Raises:
        UserError: it holds what no export wrote.
    """
    bundle, ours = place_of(config, tables)
    deletion.checked(bundle, "", ours=ours)


def files_of(trunks: list[str], infos: list[HeadInfo]) -> list[str]:
    """Names of the networks' files in a bundle."""
    return [
        *(f"{bundled(trunk)}/{file}" for trunk in trunks for file in TRUNK_FILES),
        *(f"{GROUPS}/group={info.group}/{file}" for info in infos for file in HEAD_FILES),
    ]


def bundled(trunk: str) -> str:
    """Where a trunk of a root's models lies in a bundle."""
    return trunk.replace(FINETUNED, GROUPS)


def copy_trunk(models: Folder, name: str, bundle: Folder, to: str) -> None:
    """A trunk's two files."""
    for file in TRUNK_FILES:
        bundle.write(f"{to}/{file}", models.read(f"{name}/{file}"))


def copy_head(models: Folder, place: str, bundle: Folder, info: HeadInfo) -> None:
    """A head's two files; it names its trunk by its new place."""
    at, to = f"{place}/group={info.group}", f"{GROUPS}/group={info.group}"
    weights, told = HEAD_FILES
    bundle.write(f"{to}/{weights}", models.read(f"{at}/{weights}"))
    value: dict[str, Any] = json.loads(models.read(f"{at}/{told}"))
    bundle.write_json(f"{to}/{told}", value | {"trunk": bundled(info.trunk)})


def landmarks(tables: Tables) -> pa.Table:
    """What the bundle knows of its landmarks."""
    examples = tables.dataset("examples").to_table(["landmark_id", "group"])
    counts = examples.group_by(["landmark_id", "group"]).aggregate([([], "count_all")])
    names = tables.dataset("landmarks").to_table(["landmark_id", "name"])
    rows = counts.join(names, "landmark_id").rename_columns({"count_all": "images"})
    rows = rows.select(schemas.BUNDLED.names).sort_by("landmark_id")
    filled = rows["name"].fill_null("")
    return rows.set_column(1, "name", filled).cast(schemas.BUNDLED)
