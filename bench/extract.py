"""The stage extract (SIFT) against its kernel in a bare pool.

5,000 and more photographs, two processes a side, two rounds (rates.py says how the rate and the
start-up are taken). Both sides decode and find features; the stage also writes `features`. Features
are sought at 320 px, not 640: with a quarter of the work an image, what Ray costs weighs more.

    python bench/extract.py

6 minutes. To expect: a stage ratio of 0.9 or more.
"""

import tempfile
from functools import partial

from common import finish, report
from rates import compare, prepare, ratio, rows_of

from landmark_ray.config.curation import ExtractConfig
from landmark_ray.stages import extract

ROUNDS = 2
OPTIONS = ExtractConfig(max_side=320, max_feature_num=500)
LEAST_RATIO = 0.9


def main() -> None:
    """Run both sides."""
    with tempfile.TemporaryDirectory(prefix="bench-extract-") as folder:
        config, tables = prepare(folder)
        config = config.model_copy(update={"extract": OPTIONS})
        stage, bare = compare(
            lambda units: extract.sift_plan(units, config, tables),
            partial(extract.sift_features, options=OPTIONS),
            extract.WRITES,
            config,
            tables,
            ROUNDS,
            light=False,
        )
        images = tables.dataset("images").count_rows()
    rows = [rows_of("stage", stage), rows_of("bare pool", bare)]
    figures = {"stage_ratio": ratio(stage, bare), "startup_s": rows[0][2]}
    report(
        f"{images:,} images",
        ["extract", "images/s", "start-up s", "total s"],
        [*rows, ["ratio", figures["stage_ratio"], "", ""], ["at least", LEAST_RATIO, "", ""]],
    )
    finish(figures, figures["stage_ratio"] >= LEAST_RATIO)


if __name__ == "__main__":
    main()
