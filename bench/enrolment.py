"""How well landmarks are recognised that jobs/enrol.py added from 5 photos each, without training.

A root is made, and continued twice: with all landmarks, and with half of them left out of training
(`--group.left_out 0.5`). Each of these is enrolled from 5 of the photos that cleaning kept. Three
bundles answer the test photos: with all landmarks trained, with half of them trained, and with the
other half enrolled. The photos are drawn several times; the figures are means.

- enrolled, trained: top-1 of the test photos of the landmarks that were left out, in the bundle in
  which they are enrolled, and in that in which they are trained. lost is the difference.
- others: top-1 of the other landmarks' test photos once the landmarks are enrolled. others_lost is
  how much more it was before.
- accepted: share of the enrolled landmarks' test photos that are answered rightly and accepted by
  the bundle's threshold; accepted_others is that of the others.
- refused: share of the landmarks whose photos jobs/enrol.py refuses.

    python bench/enrolment.py --source DIR [DIR ...] [--network NAME --weights FILE]
    python bench/enrolment.py [--smoke]

The first prints one JSON line with these figures for the given datasets in GLDv2's layout. The
second measures gld-mini and gld-scenes.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
    toy,
)
from recognition import GLD_SCENES, Row, Size, command, merged, share

from landmark_ray import enrol
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.config import STAGES
from landmark_ray.data.photo_batches import photos
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key

PHOTOS = 5
"""Number of photos that a landmark is enrolled from."""

DRAWS = 6
"""How often these are drawn: a draw alone says little, as a photo may show another side."""

FIGURES = {
    "enrolled": Figure("top-1 of landmarks enrolled from 5 photos each, without training"),
    "lost": Figure("top-1 of the same landmarks: trained minus enrolled", most=0.03),
    "others_lost": Figure("top-1 that the other landmarks lose when these are enrolled", most=0.0),
    "refused": Figure("share of the landmarks whose photos are refused", quoted=False),
}


@dataclass(frozen=True)
class Answers:
    """What a bundle answers for the test photos of landmarks.

    Attributes:
        landmark: [N] of each photo.
        right: [N] whether the first answer is this landmark.
        accepted: [N] whether its confidence reaches the bundle's threshold.
    """

    landmark: np.ndarray
    right: np.ndarray
    accepted: np.ndarray


def answers(bundle: Path, source: Path) -> Answers:
    """Answer the test photos that show a landmark."""
    opened, witnesses = Bundle(str(bundle)), Witnesses(Bundle(str(bundle)))
    test = Source(str(source)).test_set()
    assert test is not None, "the dataset has a test set"
    archives, solution = test
    limits, rows = opened.manifest.limits, []
    for archive in archives:
        members = (m for m in archive.members(64e6) if solution.get(m.image_id))
        for batch in photos(members, opened.manifest.size, limits):
            if not batch.ids:
                continue
            named, confidences = witnesses.predict(batch.squares, 1, batch.files, limits)
            rows += [
                (min(solution[i]), int(first[0]) in solution[i], sure[0])
                for i, first, sure in zip(batch.ids, named, confidences, strict=True)
            ]
    landmark, right, sure = (np.array(column) for column in zip(*rows, strict=True))
    return Answers(landmark, right, sure >= opened.manifest.threshold)


def write_photos(root: Root, landmark: int, folder: Path, draw: int) -> None:
    """Write some photos of a landmark that cleaning kept, at random."""
    wanted = (pc.field("landmark_id") == landmark) & pc.field("keep")
    ids = root.dataset("cleaned").to_table(["image_id"], filter=wanted)["image_id"].to_numpy()
    chosen = ids[np.argsort(rank_key(ids, draw))[:PHOTOS]].tolist()
    rows = root.dataset("images").to_table(
        ["image_id", "jpeg"], filter=pc.field("image_id").isin(chosen)
    )
    folder.mkdir(parents=True)
    for row in rows.to_pylist():
        (folder / f"{row['image_id']}.jpg").write_bytes(row["jpeg"])


def enrol_all(
    landmarks: Sequence[int], bundle: Path, root: Root, folder: Path, draw: int
) -> tuple[Path, int]:
    """Enrol landmarks one after the other; the last bundle, and how many were refused."""
    refused = 0
    for landmark in landmarks:
        write_photos(root, landmark, folder / str(landmark), draw)
        words = {"landmark_id": landmark, "photos": str(folder / str(landmark))}
        to = folder / f"bundle-{landmark}"
        try:
            enrol.run(enrol.EnrolOptions(bundle=str(bundle), to=str(to), **words))
            bundle = to
        except UserError as error:
            print(f"landmark {landmark}: {error}", file=sys.stderr)
            refused += 1
    return bundle, refused


def enrolled(
    landmarks: Sequence[int], bundle: Path, source: Path, root: Root, folder: Path
) -> dict[str, float]:
    """Enrol landmarks from several draws of photos, and answer the test photos after each."""
    rows = []
    for draw in range(DRAWS):
        last, refused = enrol_all(landmarks, bundle, root, folder / str(draw), draw)
        after = answers(last, source)
        new = np.isin(after.landmark, list(landmarks))
        rows.append(
            {
                "enrolled": share(after.right[new]),
                "others": share(after.right[~new]),
                "accepted": share((after.right & after.accepted)[new]),
                "accepted_others": share((after.right & after.accepted)[~new]),
                "refused": refused / max(len(landmarks), 1),
            }
        )
        print(f"draw {draw}: {rows[-1]}", file=sys.stderr)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def measured(sources: Sequence[Path], options: Sequence[object], folder: Path) -> dict[str, Row]:
    """The figures of datasets together."""
    source = merged(sources, folder / "source")
    words = ("--source", source, *options)
    run_stages((*words, "--root", folder / "all"), STAGES[0], "clean")
    shutil.copytree(folder / "all", folder / "half")
    bundles = {name: folder / name / "bundle" for name in ("all", "half")}
    for name, more in (("all", ()), ("half", ("--group.left_out", 0.5))):
        _, root = run_stages((*words, *more, "--root", folder / name), "group", STAGES[-1])
    known = [set(Bundle(str(path)).names()["landmark_id"].to_pylist()) for path in bundles.values()]
    left_out = sorted(known[0] - known[1])
    trained, before = (answers(bundle, source) for bundle in bundles.values())
    new = np.isin(trained.landmark, left_out)
    figures = enrolled(left_out, bundles["half"], source, root, folder / "enrolled")
    figures |= {
        "landmarks": len(left_out),
        "trained": share(trained.right[new]),
        "lost": share(trained.right[new]) - figures["enrolled"],
        "others_lost": share(before.right[~new]) - figures["others"],
    }
    return {"all": figures}


def measure(size: Size, folder: Path) -> Row:
    """The figures of gld-mini and gld-scenes together."""
    figures = measured(size.sources or (toy(),), size.options, folder)["all"]
    report("Enrolment", ["", ""], [[name, f"{value:.3f}"] for name, value in figures.items()])
    return {name: figures[name] for name in FIGURES}


if __name__ == "__main__":
    if any(word.startswith("--source") for word in sys.argv):
        command(measured, str(__doc__))
    else:
        run(
            measure,
            FIGURES,
            full=Size((GLD_MINI, GLD_SCENES), MOBILENET),
            smoke=Size((), (*TINY_NETWORK, *FEW_FEATURES, "--train.cpus", CORES)),
        )
