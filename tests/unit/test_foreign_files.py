"""Whatever lies under and around a root, and whatever is run: what is another's stays.

    LANDMARK_RAY_RANDOM_RUNS=200 python -m pytest tests/unit/test_foreign_files.py -k random

makes so many random runs; else it's a few.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from landmark_ray.config import STAGES
from landmark_ray.cost import job
from landmark_ray.data import layout
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.pipeline import FOLDERS
from landmark_ray.runtime import ledger, receipts
from landmark_ray.runtime.predict_output import Submission
from tests import product

RUNS = int(os.environ.get("LANDMARK_RAY_RANDOM_RUNS", "15"))

PART = f".{'0123456789abcdef' * 2}.part"
LOOKALIKES = sorted({n for s in STAGES[1:-1] for n in product.names(s)}) + [
    "catalog/bucket=0/catalog.parquet",
    "landmarks/landmarks.parquet",
    "bundle/bundle.json",
    "bundle/landmarks.parquet",
    "_ledger/sample.json",
    "_ledger/archives/mine.json",
    "_staging/tune/trials/tuner.pkl",
    *(f"{place}/{PART}" for place in ("images", "models/trunk", "bundle", "_staging/match")),
]
REPORTS = ("funnel.json", "funnel.png", "curation.html", "evaluation.html", "sweep.csv", "tune.csv")
OTHERS = [
    *("notes.txt", "images/wedding.jpg", "landmarks/notes.txt", "models/my_model.h5"),
    *("examples/a.txt", ".DS_Store", "images/.hidden", "catalog/bucket=0/.DS_Store"),
    *("models/trunk/my.h5", "bundle/README.md", "bundle/.git/config", "_staging/mine/a.txt"),
    *("_staging/train/mine.txt", "_ledger/accounts.xls", "reports/thesis.txt", "rejects/list.csv"),
    *("images/bucket=0/shard-00000.parquet.bak", "pairs/bucket=x/shard-00000.parquet"),
    *("models/groups/group=1/notes.txt", "images/bucket=0/.film.part"),
    *(f"reports/{name}" for name in REPORTS),
]
AS_FILES = (
    "images",
    "models",
    "catalog",
    "reports",
    "_staging",
    "bundle",
    "rejects",
    "catalog/bucket=0",
)
AROUND = [
    *("out/sub.csv", "out/sub.parquet/notes.txt", "out/sub.parquet/bucket=0/shard-00000.parquet"),
    *("out/sub.parquet/_identity.json", "out/best.toml", "out/best.csv", "out/match.png"),
    *("out/plan.json", "to/thesis.txt", "to/bundle.json", "to/landmarks.parquet", "to/.hidden"),
    *("root2/images/a.jpg", "out/sub.parquet", "to"),
]
_MENDED = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


@pytest.fixture(scope="module", autouse=True)
def quick_product():
    with product.quick():
        yield


class World:
    """A folder with a source, a root and places for outputs; and what others have put there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.source = product.photos(folder / "source")
        self.foreign: dict[Path, object] = {}
        self.keep(*(p for p in self.source.rglob("*") if p.is_file()))

    def keep(self, *paths: Path) -> None:
        self.foreign |= {path: seen(path) for path in paths}

    def unowned(self, name: str) -> bool:
        """Whether a name in the root can't be the product's: no stage that writes there has run."""
        if not layout.ours(name) and PART not in name:
            return True
        begun = [s for s in STAGES if (self.root / f"_ledger/{s}.json").exists()]
        if name.startswith("_ledger/") and name.count("/") == 1:
            return not begun  # a damaged record is known by others
        return not any(name.startswith(f"{p}/") for s in begun for p in FOLDERS[s])

    def put(self, path: Path, kind: str) -> None:
        """A file of others, or a link; not where something is, or where names are the product's."""
        inside = path.is_relative_to(self.root)
        if inside and not self.unowned(str(path.relative_to(self.root))):
            return
        if os.path.lexists(path):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.resolve() != path.parent:
                return  # through a link that was put before
            if kind == "file":
                path.write_bytes(os.urandom(9))
            else:
                targets = {"photos": self.source, "nowhere": "nowhere", "loop": path.name}
                path.symlink_to(targets[kind])
        except OSError:  # a file is on the way
            return
        self.keep(path)
        note(f"put {path.relative_to(self.folder)} {kind}")

    def untouched(self) -> None:
        for path, was in self.foreign.items():
            assert os.path.lexists(path), f"{path} is gone"
            assert seen(path) == was, f"{path} was changed"

    def free(self) -> None:
        """Others take away what is theirs, but for the source."""
        for path in self.foreign:
            if not path.is_relative_to(self.source):
                path.unlink()
        self.foreign = {p: was for p, was in self.foreign.items() if p.is_relative_to(self.source)}


def seen(path: Path) -> object:
    return os.readlink(path) if path.is_symlink() else path.read_bytes()


def snapshot(folder: Path) -> dict[Path, object]:
    notes = folder / "root/_ledger/written"
    files = (p for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    return {p: seen(p) for p in files if notes not in p.parents}


def pipeline_run(world: World, draw) -> None:
    last = draw(st.sampled_from(("export", "export", "sample", draw(st.sampled_from(STAGES)))))
    first = draw(st.sampled_from(STAGES[: STAGES.index(last) + 1]))
    first = draw(st.sampled_from((first, "sample", "sample")))
    to = str(world.folder / "to") if draw(st.booleans()) else ""
    more = {
        "redo": draw(st.sampled_from((None, None, "sample", first, last))),
        "seed": draw(st.sampled_from((0, 0, 0, 1))),
        "export": {"to": to},
    }
    note(f"run {first}..{last} {more}")
    product.run(world.source, world.root, first, last, **more)


def predict(world: World, draw) -> None:
    identity = {"bundle": draw(st.sampled_from("ab")), "source": "s", "top_k": 5}
    note(f"predict {identity}")
    output = Submission(str(world.folder / "out/sub.csv"), identity)
    name = output.root.name(output.answers, 0, 0)
    output.root.write(name, b"answers")
    if draw(st.booleans()):
        output.write(f"id,landmarks {identity}")


def report(world: World, draw) -> None:
    root = Root(str(world.root))
    if not ledger.read_all(root):
        return
    note("report")
    receipts.begin(root)
    inside = draw(st.booleans())
    files = ("best.toml", "best.csv", "match.png") if not inside else ("tune.toml", "tune.csv")
    folder = Store(str(world.folder / "out" if not inside else world.root / "reports"))
    receipts.write(
        root, {name: b"new" + bytes([draw(st.integers(0, 9))]) for name in files}, folder
    )
    receipts.write(root, {f"reports/sweep.{e}": b"sweep" for e in ("json", "csv", "png")})


def plan(world: World, draw) -> None:
    output = str(world.folder / "out/plan.json")
    job.check_output(output)
    folder, name = job.output_place(output)
    folder.write_json(name, dict.fromkeys(job.KEYS, {}))


def old(world: World, draw) -> None:
    """The root is as older code leaves it."""
    foreign = [p for p in world.foreign if world.root / "reports" in p.parents]
    if not any(layout.REPORTS.fullmatch(str(p.relative_to(world.root))) for p in foreign):
        shutil.rmtree(world.root / "_ledger/written", ignore_errors=True)


def scatter(world: World, draw) -> None:
    """Others put files and links where they like."""
    groups = [[world.root / n for n in names] for names in (LOOKALIKES, OTHERS, AS_FILES)]
    groups.append([world.folder / name for name in AROUND])
    somewhere = st.sampled_from(draw(st.sampled_from([groups[-1], groups[-1], *groups])))
    kinds = st.sampled_from(("file", "file", "file", "photos", "nowhere", "loop"))
    few = st.lists(st.tuples(somewhere, kinds), max_size=6)
    for path, kind in draw(few):
        world.put(path, kind)


COMMANDS = (*[pipeline_run] * 3, *[predict] * 2, report, plan, old, scatter)


@settings(
    max_examples=RUNS,
    deadline=None,
    derandomize="LANDMARK_RAY_RANDOM_RUNS" not in os.environ,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_random_runs_among_random_files_of_others(data):
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place).resolve())
        commands = data.draw(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=6))
        for command in (scatter, *commands):
            before = snapshot(world.folder)
            try:
                command(world, data.draw)
            except UserError as error:
                note(f"refused: {error}")
                assert "\n" not in str(error)
                if "Nothing was touched" in str(error):
                    assert snapshot(world.folder) == before
            except OSError as error:
                assert error.errno in _MENDED, error
                note(f"refused: {error}")
            world.untouched()
        world.free()
        product.run(world.source, world.root, redo="sample")
        product.run(world.source, world.root)
        world.untouched()
