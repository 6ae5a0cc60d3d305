"""What matching keeps of real photographs, and of the noise among them: the pipeline, judged.

A dataset in GLDv2's layout with a `truth.csv` (id, landmark_id, kind) runs through sample, ingest,
extract and match, every pair matched, with RootSIFT and with DELF, all options at their defaults.
An image is kept when a partner of its class verifies it. Of the images of kind `photo` as many
should be kept as can be, of `noise` none. Options were chosen mostly on every second class, so the
table has that half ("tuned") and the rest ("other"). A second run of match, with a low threshold,
gives the curve.

    python bench/cleaning.py [--source DIR] [--extractors sift,delf] [--picture FILE.png]

15 minutes on ../shared/data/gld-mini. To expect there: at most 0.01 of the noise; at least 0.93 of
the photos with RootSIFT, 0.97 with DELF's stand-in.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import ray
from common import DELF_STANDIN, GLD_MINI, finish, report

from landmark_ray import pipeline
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source

LOWEST, HIGHEST = 6, 20
LEAST_PHOTOS = {"sift": 0.93, "delf": 0.97}
MOST_NOISE = 0.01


def best_inliers(tables: Root, image_ids: pd.Index) -> pd.Series:
    """The most inliers that each image has with any other of its class; 0 without any."""
    pairs = tables.dataset("pairs").to_table(columns=["image_a", "image_b", "inliers"]).to_pandas()
    sides = [pairs.set_index(side).inliers for side in ("image_a", "image_b")]
    best = pd.concat(sides).groupby(level=0).max()
    return best.reindex(image_ids, fill_value=0)


def match_every_pair(
    tables: Root, source: str, extract: Mapping[str, str], match: Mapping[str, int]
) -> None:
    """Run the stages up to match; those before it only once."""
    options = {"extract": extract, "match": {"mode": "exhaustive", **match}}
    config = Config.model_validate({"source": source, "root": tables.uri, **options})
    pipeline.forget(tables, "match")
    for stage in ("sample", "ingest", "extract", "match"):
        pipeline.run_stage(stage, config, tables, Source(source))


def shares(best: pd.Series, truth: pd.DataFrame, threshold: int) -> dict[str, float]:
    """Of the photos and of the noise, how much is kept; of all classes and of each half."""
    classes = sorted(truth.landmark_id[truth.kind == "photo"].unique())
    tuned = truth.landmark_id.isin(classes[::2])
    kept = best >= threshold
    return {
        f"{kind}{half}": float(kept[of & (truth.kind == kind)].mean())
        for kind in ("photo", "noise")
        for half, of in (("", tuned | True), (" tuned", tuned), (" other", ~tuned))
    }


def shown(row: Mapping[str, float]) -> list[str]:
    """Shares with the digits that count."""
    return [f"{share:.3f}" for share in row.values()]


def draw(curves: Mapping[str, list[dict[str, float]]], path: str) -> None:
    """Shares kept over the threshold, a panel an extractor."""
    figure, panels = plt.subplots(1, len(curves), figsize=(5.5 * len(curves), 4), squeeze=False)
    thresholds = np.arange(LOWEST, HIGHEST + 1)
    for axes, (extractor, curve) in zip(panels[0], curves.items(), strict=True):
        for kind, colour in (("photo", "tab:blue"), ("noise", "tab:red")):
            for half, style in ((" tuned", ":"), (" other", "--"), ("", "-")):
                line = [row[f"{kind}{half}"] for row in curve]
                axes.plot(thresholds, line, style, color=colour, label=f"{kind}{half}")
        axes.axvline(11, color="0.7", zorder=0)
        axes.set(title=extractor, xlabel="min_inliers", ylabel="share kept", ylim=(-0.02, 1.02))
        axes.set_xticks(thresholds)
        axes.grid(alpha=0.3)
    panels[0][0].legend(loc="center right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Clean the dataset with each extractor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=str(GLD_MINI), help="dataset with a truth.csv")
    parser.add_argument("--extractors", default="sift,delf", help="which to judge")
    parser.add_argument("--picture", help="file for the curves")
    args = parser.parse_args()
    truth = pd.read_csv(Path(args.source) / "truth.csv", dtype={"id": str}).set_index("id")
    figures: dict[str, float] = {}
    curves = {}
    met = True
    for extractor in args.extractors.split(","):
        handle = {"handle": str(DELF_STANDIN)} if extractor == "delf" else {}
        with tempfile.TemporaryDirectory(prefix="bench-cleaning-") as root:
            tables, best = Root(root), []
            for match in ({}, {"min_inliers": LOWEST}):
                extract = {"extractor": extractor, **handle}
                match_every_pair(tables, args.source, extract, match)
                best.append(best_inliers(tables, truth.index))
        threshold = Config().match.min_inliers
        own = shares(best[0], truth, threshold)
        curves[extractor] = [shares(best[1], truth, t) for t in range(LOWEST, HIGHEST + 1)]
        rows = [[f"{t}", *shown(row)] for t, row in enumerate(curves[extractor], LOWEST)]
        report(
            f"{extractor}: shares kept by threshold, pairs matched for {LOWEST} inliers",
            ["min_inliers", *own],
            [*rows, [f"{threshold} (default)", *shown(own)]],
        )
        prefix = "" if extractor == "sift" else f"{extractor}_"
        figures |= {
            f"{prefix}photos_kept": own["photo"],
            f"{prefix}noise_kept": own["noise"],
        }
        met &= own["photo"] >= LEAST_PHOTOS[extractor] and own["noise"] <= MOST_NOISE
    ray.shutdown()
    if args.picture:
        draw(curves, args.picture)
    finish(figures | {"threshold": threshold}, met)


if __name__ == "__main__":
    main()
