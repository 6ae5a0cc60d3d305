"""How well an embedding that learned some landmarks tells apart others, which it never saw.

The landmarks of a dataset are halved by the parity of their place in the order of ids. The phase
metric (`--train.phases metric,head`) trains on the photos of one half, as they are labelled, noise
included. Then each photo of the other half, noise aside, is sought among the rest of them by its
vector's cosines, copies of it aside. No option is chosen on the half that is measured: `--choose`
halves the landmarks that train once more, and measures each part after training on the other.

- map: mean average precision of each photo's ranking.
- gap: global average precision, where each photo is given the landmark of its nearest photo.
- before: by the vectors of the network with its pretrained weights; whitened: by these vectors with
  the whitening that the training begins with; after: by the trained embedding.

    python bench/embedding.py --source DIR [DIR ...] --weights FILE [--network NAME] [--seed N]
        [--fit pad [--proportions]] [--choose --options JSON]
    python bench/embedding.py [--smoke]

The first prints one JSON line with the means over SEEDS, `--seed` with one of them only. `--fit`
and `--proportions` are --resize.fit and --train.metric_proportions. The second measures gld-mini
and gld-scenes together: 15 minutes.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pandas as pd
from common import GLD_MINI, MOBILENET, Figure, Photo, photographs, report, run, toy
from numpy.typing import NDArray

from landmark_ray.config.training import TrainConfig
from landmark_ray.kernels.image import Fit, ImageError, decode, square
from landmark_ray.kernels.metrics import global_average_precision
from landmark_ray.kernels.proportions import arranged, cut, nearest, window_of
from landmark_ray.kernels.whitening import fit_whitening, unit_length
from landmark_ray.models import arcface, fit_loop, metric, networks
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.rectangles import for_rectangles, for_squares
from landmark_ray.training.photo_stream import WINDOW, drawn_evenly

GLD_SCENES = GLD_MINI.parent / "gld-scenes"
SEEDS = (0, 1, 2)

MAX_SIDE = 400
"""Longest side in pixels at which the proportions of a photo are taken."""

SHOWS = ("photo", "odd", "small_class")
"""Kinds of photos in `truth.csv` that show their landmark, and are no copies of others."""

FIGURES = {
    "map_before": Figure("unseen landmarks: MAP of the ImageNet network's vectors"),
    "map_whitened": Figure("unseen landmarks: MAP of these vectors, whitened", quoted=False),
    "map_after": Figure("unseen landmarks: MAP of the embedding"),
    "gap_before": Figure("unseen landmarks: GAP of the nearest photo by the ImageNet network"),
    "gap_whitened": Figure("the same, whitened", quoted=False),
    "gap_after": Figure("unseen landmarks: GAP of the nearest photo by the embedding"),
    "map_gain": Figure("unseen landmarks: MAP of the embedding minus ImageNet's", least=0),
    "gap_gain": Figure("unseen landmarks: GAP of the embedding minus ImageNet's", least=0),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        sources: datasets; none for the toy.
        pixels: width and height of the photos.
        network: of the trunk.
        weights: their file, or none.
        seeds: of the trainings; the figures are means over them.
        epochs: of the phase metric; None for the product's default.
        fit: how a photo becomes a square.
        proportions: whether batches have photos of like proportions.
    """

    sources: tuple[Path, ...]
    pixels: int
    network: str
    weights: str | None
    seeds: tuple[int, ...]
    epochs: int | None = None
    fit: Fit = "crop"
    proportions: bool = False


@dataclass(frozen=True)
class Half:
    """Photos of half of the landmarks: pixels [N, S, S, 3], landmark ids [N], whether shown [N].

    `proportion` [N] is the place of each photo in `PROPORTIONS`.
    """

    photos: NDArray[np.uint8]
    landmark: NDArray[np.int64]
    shows: NDArray[np.bool_]
    proportion: NDArray[np.int8]


def halves(sources: Sequence[Path], pixels: int, fit: Fit) -> tuple[Half, Half]:
    """The photos of both halves of the landmarks."""
    photos: list[Photo] = [photo for source in sources for photo in photographs(source)]
    kinds = pd.concat([pd.read_csv(s / "truth.csv", dtype=str) for s in sources])
    kind = dict(zip(kinds.id, kinds.kind, strict=True))
    decoded, landmark, shows, sides = [], [], [], []
    for photo in photos:
        try:
            decoded.append(np.asarray(square(photo.data, pixels, fit)))
        except ImageError:
            continue
        sides.append(decode(photo.data, MAX_SIDE).shape[:2])
        landmark.append(photo.landmark_id)
        shows.append(kind.get(photo.image_id, "photo") in SHOWS)
    high, wide = np.array(sides).T
    whole = Half(np.stack(decoded), np.array(landmark), np.array(shows), nearest(wide, high))
    return halved(whole)


def halved(whole: Half) -> tuple[Half, Half]:
    """The photos of every other landmark, and of those between them."""
    place = np.unique(whole.landmark, return_inverse=True)[1] % 2
    arrays = whole.photos, whole.landmark, whole.shows, whole.proportion
    first, second = (Half(*(a[place == side] for a in arrays)) for side in (0, 1))
    return first, second


def trained(
    half: Half, trunk: keras.Model, options: TrainConfig, seed: int, proportions: bool
) -> keras.Model:
    """The trunk after the phase metric, as `stages/trunk.py` runs it, on photos in memory."""
    keras.utils.set_random_seed(seed)
    landmarks, y = np.unique(half.landmark, return_inverse=True)
    y = y.astype(np.int32)
    margins = arcface.margins_of(
        np.bincount(y), options.margin_few, options.margin_many, options.margin_power
    )
    model, _ = metric.build(
        for_rectangles(trunk) if proportions else trunk,
        half.photos,
        y,
        classes=len(landmarks),
        features=options.embedding,
        scale=options.metric_scale,
        augmentation=build_augmentation(options.augment, seed),
    )
    batch = min(options.batch, len(y))
    steps = len(y) // batch

    def batches():
        for epoch in range(options.metric_epochs):
            rng = np.random.default_rng([seed, epoch])
            rows = rng.permutation(drawn_evenly(y, rng))[: steps * batch]
            if proportions:
                window = window_of(batch, WINDOW)
                rows = rows[arranged(half.proportion[rows], batch, window, rng)]
            for chosen in rows.reshape(steps, -1):
                ones, shown = np.ones(len(chosen), np.float32), half.photos[chosen]
                if proportions:
                    shown = cut(shown, half.proportion[chosen])
                yield shown.astype(np.float32), y[chosen], ones

    def progress(epoch: int, logs: dict[str, float], model: keras.Model) -> None:
        print(f"epoch {epoch}: {logs}", file=sys.stderr, flush=True)

    fit_loop.fit(
        model,
        fit_loop.Stream(arcface.with_margins(batches(), margins), steps),
        rate=options.metric_rate,
        epochs=options.metric_epochs,
        warmup=options.warmup,
        options=options,
        on_progress=progress,
        loss=arcface.ArcFace(options.metric_scale),
        average=options.average,
    )
    trunk, _ = split_classifier(model)
    return for_squares(trunk) if proportions else trunk


def scores(vectors: NDArray[np.floating], landmark: NDArray[np.int64]) -> tuple[float, float]:
    """MAP and GAP of vectors [N, D] of photos that show their landmark [N]."""
    units = unit_length(vectors)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    right = landmark[order] == landmark[:, None]
    precision = right.cumsum(axis=1) / np.arange(1, right.shape[1] + 1)
    ranked = right.any(axis=1)
    mean = ((precision * right).sum(axis=1)[ranked] / right.sum(axis=1)[ranked]).mean()
    ids = [f"{i:06d}" for i in range(len(landmark))]
    gap = global_average_precision(
        ids,
        landmark[order[:, 0]],
        cosines.max(axis=1),
        {name: {int(own)} for name, own in zip(ids, landmark, strict=True)},
    )
    return float(mean), float(gap)


def measured(size: Size, *, choose: bool = False, **changes: object) -> dict[str, float]:
    """The figures, as means over the seeds.

    Args:
        size: How much work there is.
        choose: Whether to choose options by these figures: see the module.
        changes: Options of the training.
    """
    options = TrainConfig.model_validate({"phases": ("metric", "head"), **changes})
    if size.epochs:
        options = options.model_copy(update={"metric_epochs": size.epochs})
    pairs = [halves(size.sources or (toy(),), size.pixels, size.fit)]
    if choose:
        one, other = halved(pairs[0][0])
        pairs = [(one, other), (other, one)]
    rows: list[dict[str, float]] = []
    for seed, (train, test) in itertools.product(size.seeds, pairs):
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        trunk = networks.build_trunk(
            size.network, weights=size.weights, size=size.pixels, input_size=size.pixels
        )
        photos, landmark = test.photos[test.shows], test.landmark[test.shows]
        before = Embedder(trunk).embed(photos)
        whitening = fit_whitening(Embedder(trunk).embed(train.photos), options.embedding)
        after = Embedder(trained(train, trunk, options, seed, size.proportions)).embed(photos)
        row: dict[str, float] = {}
        for name, vectors in (
            ("before", before),
            ("whitened", whitening(before)),
            ("after", after),
        ):
            row[f"map_{name}"], row[f"gap_{name}"] = scores(vectors, landmark)
        print(f"seed {seed}: {row}", file=sys.stderr, flush=True)
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means | {f"{n}_gain": means[f"{n}_after"] - means[f"{n}_before"] for n in ("map", "gap")}


def measure(size: Size, folder: Path) -> dict[str, float]:
    """The figures of gld-mini and gld-scenes together."""
    values = measured(size)
    report("Embedding", ["", "value"], [[name, value] for name, value in values.items()])
    return values


def command() -> None:
    """Print the figures of the given datasets as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--source", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--network", default="mobilenet_v2", help="see --train.network")
    parser.add_argument("--weights", required=True, help="see --train.weights")
    parser.add_argument("--pixels", type=int, default=160, help="width and height of the photos")
    parser.add_argument("--fit", choices=get_args(Fit), default="crop", help="see --resize.fit")
    parser.add_argument("--proportions", action="store_true", help="train on rectangles")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="this seed only")
    parser.add_argument("--choose", action="store_true", help="measure within the training half")
    parser.add_argument("--options", type=json.loads, default={}, help="JSON of --train options")
    given = parser.parse_args()
    if given.proportions and given.fit != "pad":
        parser.error("--proportions needs --fit pad")
    seeds = SEEDS if given.seed is None else (given.seed,)
    size = Size(
        tuple(given.source),
        given.pixels,
        given.network,
        given.weights,
        seeds,
        fit=given.fit,
        proportions=given.proportions,
    )
    with redirect_stdout(sys.stderr):
        values = measured(size, choose=given.choose, **given.options)
    print(json.dumps(values))


if __name__ == "__main__":
    if any(word.startswith("--source") for word in sys.argv):
        command()
    else:
        run(
            measure,
            FIGURES,
            full=Size((GLD_MINI, GLD_SCENES), 160, MOBILENET[1], MOBILENET[3], SEEDS),
            smoke=Size((), 32, "small", None, SEEDS[:1], epochs=1),
        )
