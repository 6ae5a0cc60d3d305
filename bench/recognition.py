"""How much of a dataset cleaning keeps, and how well the service's models then recognise landmarks.

The datasets run through the pipeline together, from `sample` to `export`, so that neighbours are
sought among all of them. Their `truth.csv` (id, landmark_id, kind, detail), which no stage reads,
says what each training photo shows; their test sets say how good the answers are.

- photos_kept, noise_kept: share of the photos of their landmark, and of the noise, that training
  uses. Photos of one other place that verify each other ("album") are not counted as noise, as
  geometry cannot know better; album_kept is their share. photos_verified and noise_verified are the
  shares that geometry alone keeps.
- gap_reference, gap_heads, gap_index, gap_fused, gap_verified: GAP of the test sets, by the
  reference's rule (one closed-set head for each group), by the heads alone, by the index alone, by
  both, and by both with the exemplars, which is what the service answers. top1_heads, top1_index,
  top1_fused and top1_verified: share of the photos of landmarks whose first answer is right.
- precision, recall: of the answers that the bundle's threshold accepts; precision_validation and
  recall_validation are what validation says of that threshold.
- precision_fused, precision_verified: precision at the highest threshold at which heads and index
  alone have a recall of at least 0.75, and with the exemplars.
- unknown_accepted: share of the photos of no landmark for which the threshold accepts an answer.

    python bench/recognition.py --source DIR [DIR ...] [--network NAME --weights FILE]
    python bench/recognition.py [--smoke]

The first prints one JSON line with these figures for the given datasets in GLDv2's layout; with
several, also for each alone. The second measures gld-mini and gld-scenes: 12 minutes.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from common import (
    CORES,
    FEW_FEATURES,
    GLD_MINI,
    MOBILENET,
    TINY_NETWORK,
    Figure,
    report,
    run,
    run_stages,
    tiny_weights,
    toy,
)
from numpy.typing import NDArray

from landmark_ray.config import STAGES
from landmark_ray.data.examples import groups_of
from landmark_ray.kernels.answers import answered, by_index, fitted
from landmark_ray.kernels.evaluation import FirstAnswers, first_answers
from landmark_ray.kernels.fusion import Fusion
from landmark_ray.kernels.metrics import global_average_precision
from landmark_ray.training.evaluation import one_row_per_photo

GLD_SCENES = GLD_MINI.parent / "gld-scenes"
ONE_GROUP = ("--group.edges", "6")
TABLES = (
    "train.csv",
    "test.csv",
    "recognition_solution.csv",
    "train_label_to_category.csv",
    "truth.csv",
)
RECALL = 0.75
"""Recall at which precisions are compared."""


Row = dict[str, float]
"""Name of a figure -> its value."""

FIGURES = {
    "mini_photos": Figure("gld-mini: share of true photos kept", least=0.97),
    "mini_noise": Figure("gld-mini: share of noise kept", most=0.01),
    "scenes_photos": Figure("gld-scenes: share of true photos kept"),
    "scenes_more": Figure(
        "gld-scenes: share of true photos kept, minus what geometry alone keeps",
        least=0.12,
    ),
    "scenes_noise": Figure("gld-scenes: share of noise kept", most=0.05),
    "mini_gap": Figure("gld-mini: GAP of heads, index and exemplars", least=0.97),
    "scenes_gap": Figure("gld-scenes: GAP of heads and index"),
    "verified_gap": Figure("gld-scenes: GAP of heads, index and exemplars", least=0.88),
    "heads_gap": Figure("gld-scenes: GAP of the heads alone"),
    "index_gap": Figure("gld-scenes: GAP of the index alone"),
    "precision": Figure("gld-scenes: precision at the bundle's threshold", least=0.92),
    "recall": Figure("gld-scenes: recall at the bundle's threshold", least=0.75),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        sources: datasets; none for the toy.
        options: of the run.
    """

    sources: tuple[Path, ...]
    options: tuple[object, ...]


def merged(sources: Sequence[Path], folder: Path) -> Path:
    """Write datasets as one: the rows of their tables, and links to their tars."""
    folder.mkdir()
    for name in TABLES:
        tables = [pd.read_csv(s / name, dtype=str) for s in sources if (s / name).exists()]
        if tables:
            pd.concat(tables).to_csv(folder / name, index=False)
    for part in ("train", "test"):
        (folder / part).mkdir()
        (folder / "md5sum" / part).mkdir(parents=True)
        tars = [tar for source in sources for tar in sorted((source / part).glob("*.tar"))]
        for number, tar in enumerate(tars):
            name = f"images_{number:03d}"
            (folder / part / f"{name}.tar").symlink_to(tar.resolve())
            md5 = tar.parents[1] / "md5sum" / part / f"md5.{tar.stem}.txt"
            if md5.exists():
                line = md5.read_text().replace(tar.name, f"{name}.tar")
                (folder / "md5sum" / part / f"md5.{name}.txt").write_text(line)
    return folder


def cleaning(truth: pd.DataFrame, kept: pd.DataFrame) -> dict[str, float]:
    """Shares of photos, noise and albums that stay, and that geometry alone would keep.

    Args:
        truth: what training photos show; those of one dataset, or of all.
        kept: rows of `kept`.
    """
    stay, verified = (set(kept.image_id[rows]) for rows in (kept.keep, by_geometry(kept)))
    detail = truth.detail if "detail" in truth else pd.Series("", truth.index)
    album = (truth.kind == "noise") & (detail == "album")
    photos, noise = truth.kind == "photo", (truth.kind == "noise") & ~album
    return {
        "photos_kept": share(truth.id[photos].isin(stay)),
        "noise_kept": share(truth.id[noise].isin(stay)),
        "album_kept": share(truth.id[album].isin(stay)),
        "photos_verified": share(truth.id[photos].isin(verified)),
        "noise_verified": share(truth.id[noise].isin(verified)),
    }


def by_geometry(kept: pd.DataFrame) -> pd.Series:
    """Which rows of `kept` geometry alone would keep."""
    return kept.keep & (kept.reason == "verified")


def share(chosen: pd.Series | NDArray[np.bool_]) -> float:
    """The share of rows that are chosen; 0 if there are none."""
    return float(chosen.mean()) if len(chosen) else 0.0


def recognition(evidence: pa.Table, fusion: Fusion, threshold: float) -> dict[str, float]:
    """Figures of test photos, by the reference's rule, the heads, the index, and all fused."""
    unverified = replace(fusion, verified=None)
    fused, index = (answered(rows, unverified) for rows in (evidence, by_index(evidence)))
    answers = first_answers(answered(evidence, fusion))
    ids, solution = answers.image_ids, dict(zip(answers.image_ids, answers.truth, strict=True))
    landmark = np.array([bool(names) for names in answers.truth])
    accepted = answers.confidences >= threshold
    right = answers.right & accepted
    closed, confidence = (evidence[f"closed_{n}"].to_numpy() for n in ("landmark", "confidence"))
    firsts = {
        "heads": first_answers(evidence),
        "index": first_answers(index),
        "fused": first_answers(fused),
        "verified": answers,
    }
    return {
        "gap_reference": global_average_precision(ids, closed, confidence, solution),
        **{
            f"gap_{name}": global_average_precision(ids, first.named, first.confidences, solution)
            for name, first in firsts.items()
        },
        **{f"top1_{name}": share(first.right[landmark]) for name, first in firsts.items()},
        "precision": float(right.sum() / max(accepted.sum(), 1)),
        "recall": float(right.sum() / landmark.sum()),
        **{
            f"precision_{name}": precision_at(firsts[name], RECALL)
            for name in ("fused", "verified")
        },
        "unknown_accepted": share(accepted[~landmark]),
    }


def precision_at(answers: FirstAnswers, recall: float) -> float:
    """The precision at the highest threshold at which recall is at least as high."""
    right = answers.right[np.argsort(-answers.confidences, kind="stable")].cumsum()
    enough = np.flatnonzero(right >= recall * answers.landmarks)
    return float(right[enough[0]] / (enough[0] + 1)) if len(enough) else 0.0


def measured(sources: Sequence[Path], options: Sequence[object], folder: Path) -> dict[str, Row]:
    """Run datasets together; the figures of all, and, of several, those of each by its name."""
    source = merged(sources, folder / "source")
    words = ("--source", source, "--root", folder / "root", *options)
    _, root = run_stages(words, STAGES[0], STAGES[-1])
    kept = root.dataset("kept").to_table().to_pandas()
    tested = one_row_per_photo(root.dataset("test_predictions").to_table())
    validation = root.read_json("reports/evaluation.json")["validation"]["ensemble"]
    fusion = fitted(root.dataset("predictions").to_table(), groups_of(root))
    figures: dict[str, Row] = {}
    for name, part in [("all", source), *((s.name, s) for s in sources if len(sources) > 1)]:
        truth = pd.read_csv(part / "truth.csv", dtype=str)
        ids = pa.array(pd.read_csv(part / "recognition_solution.csv", dtype=str)["id"])
        rows = tested.filter(pc.is_in(tested["image_id"], ids))
        figures[name] = cleaning(truth, kept) | recognition(rows, fusion, validation["threshold"])
    known = [name for name in ("precision", "recall") if name in validation]
    figures["all"] |= {f"{name}_validation": validation[name] for name in known}
    return figures


def measure(size: Size, folder: Path) -> Row:
    """The figures of gld-mini and gld-scenes together."""
    options = size.options if size.sources else (*size.options, *tiny_weights())
    figures = measured(size.sources or (toy(),), options, folder)
    whole = figures["all"]
    mini, scenes = (figures.get(source.name, whole) for source in (GLD_MINI, GLD_SCENES))
    of = list(figures.values())
    report(
        "Recognition",
        ["", *figures],
        [[name, *(f"{row[name]:.3f}" if name in row else "" for row in of)] for name in whole],
    )
    return {
        "mini_photos": mini["photos_kept"],
        "mini_noise": mini["noise_kept"],
        "scenes_photos": scenes["photos_kept"],
        "scenes_more": scenes["photos_kept"] - scenes["photos_verified"],
        "scenes_noise": scenes["noise_kept"],
        "mini_gap": mini["gap_verified"],
        "scenes_gap": scenes["gap_fused"],
        "verified_gap": scenes["gap_verified"],
        "heads_gap": scenes["gap_heads"],
        "index_gap": scenes["gap_index"],
        "precision": scenes["precision"],
        "recall": scenes["recall"],
    }


def command(
    measured: Callable[[Sequence[Path], Sequence[object], Path], dict[str, Row]], description: str
) -> None:
    """Print the figures of the given datasets as one JSON line."""
    parser = argparse.ArgumentParser(description=description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--source", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--network", default="mobilenet_v2", help="see --train.network")
    parser.add_argument("--weights", default="imagenet", help="see --train.weights")
    given = parser.parse_args()
    for source in given.source:
        for name in ("truth.csv", "recognition_solution.csv"):
            if not (source / name).exists():
                parser.error(f"--source {source} has no {name}, which the figures need")
    options = ("--train.network", given.network, "--train.weights", given.weights)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redirect_stdout(sys.stderr):
        figures = measured(given.source, options, Path(folder))
    print(json.dumps(figures.pop("all") | figures))


if __name__ == "__main__":
    if any(word.startswith("--source") for word in sys.argv):
        command(measured, str(__doc__))
    else:
        run(
            measure,
            FIGURES,
            full=Size((GLD_MINI, GLD_SCENES), MOBILENET),
            smoke=Size((), (*TINY_NETWORK, *FEW_FEATURES, *ONE_GROUP, "--train.cpus", CORES)),
        )
