"""Send a dataset's test set to a service, and compare its figures with those of evaluate.

This checks all that happens to a photo between the HTTP request and the response. Each photo is
sent alone, and then again with others in one request. Without --url, a service is started on a free
port of this machine, and stopped at the end.

    python jobs/check_service.py --bundle demo/root/bundle --source demo/source
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from rich.table import Table

from landmark_ray.bundle.manifest import Bundle, Manifest
from landmark_ray.config.base import Count, Options, Share
from landmark_ray.data.archives import Archive
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.evaluation import summary
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK
from landmark_ray.runtime.error_log import silenced
from landmark_ray.runtime.progress import ProgressBar, console
from landmark_ray.serving import app
from landmark_ray.serving.client import TOP_K, Client, RankedLandmarks
from landmark_ray.serving.serve_options import ServeOptions, ServiceOptions

PORTS = range(20_000, 32_000)
"""Ports that neither Ray nor outgoing connections use."""

CHUNK = 64
"""Number of photos that are in memory at once."""

COMPARED = {"top1": "top-1", "gap": "GAP", "gap_landmarks": "GAP, landmarks only"}
"""The figures that must agree -> their names; `gap` needs photos of no landmark."""

Solution = Mapping[str, frozenset[int]]
"""Image id -> the landmarks on that image."""


class CheckOptions(Options, ServiceOptions):
    """Options of jobs/check_service.py; those of the service count only without --url."""

    model_config = Options.model_config  # both bases have one, of different types

    source: str = Field(description="the dataset with the test set that evaluate used")
    url: str = Field("", description="address of a running service, such as http://127.0.0.1:8000")
    files: Count = Field(8, description="photos in a request that has several")
    tolerance: Share = Field(
        0.02, description="largest difference from evaluate's top-1 and GAP that passes the check"
    )

    @model_validator(mode="after")
    def _all_witnesses_answer(self) -> Self:
        if self.witnesses != "fused" or self.verify != "doubtful":
            raise ValueError(
                "evaluate's figures are those of all witnesses: leave witnesses and verify out"
            )
        return self


def run(options: CheckOptions) -> None:
    """Measure the service's figures, print them beside those of evaluate, and compare.

    Raises:
        UserError: The figures differ, or there are none to compare.
    """
    manifest = Bundle(options.bundle, read=lambda name: False).manifest
    expected = manifest.metrics.get("test", {})
    test = Source(options.source).test_set()
    if test is None or "top1" not in expected:
        lacking = options.source if test is None else options.bundle
        raise UserError(
            f"{lacking} has no test set with landmarks, so that there is nothing to compare: the "
            "source must have the layout of Google Landmarks, with test/ and "
            "recognition_solution.csv, and the bundle must have been evaluated on it"
        )
    service = contextlib.nullcontext(options.url) if options.url else start_service(options)
    with service as url:
        measured = asyncio.run(measure(url, *test, manifest, options))
    print_figures(expected, measured)
    check_figures(expected, measured, options)


async def measure(
    url: str, archives: list[Archive], solution: Solution, manifest: Manifest, options: CheckOptions
) -> dict[str, dict[str, float]]:
    """Send the test set to a service, and compute its figures.

    Returns:
        The figures, by how many photos a request had.

    Raises:
        UserError: The service doesn't answer, or it serves another bundle.
    """
    files_by_mode = {"one per request": 1, f"{options.files} per request": options.files}
    answers: dict[str, list[RankedLandmarks]] = {mode: [] for mode in files_by_mode}
    ids: list[str] = []
    known = PhotoIds(pa.array(list(solution), pa.string()))
    members = (m for a in archives for m in known.renamed(a, manifest.max_megabytes * 1e6))
    async with Client(url, options.key(), options.max_megabytes * 1e6) as client:
        if (version := await client.version()) != manifest.version:
            raise UserError(
                f"{url} serves bundle {version}, {options.bundle} is {manifest.version}"
            )
        with ProgressBar("over HTTP", len(solution), unit="photos") as progress:
            while chunk := list(islice(members, CHUNK)):
                ids += [member.image_id for member in chunk]
                for mode, files in files_by_mode.items():
                    answers[mode] += await client.predict([m.data for m in chunk], files)
                progress.add(len(chunk))
    return {mode: _figures(ids, rows, solution) for mode, rows in answers.items()}


def _figures(
    ids: list[str], rows: list[RankedLandmarks], solution: Solution
) -> dict[str, float | int]:
    """Return the figures of one answer for each id, if possible one with landmarks.

    Several files may have an id; `evaluate` counts them in the same way.
    """
    best: dict[str, RankedLandmarks] = {}
    for image_id, row in zip(ids, rows, strict=True):
        if not best.get(image_id):
            best[image_id] = row
    return summary(list(best), [solution[i] for i in best], *_to_arrays(list(best.values())))


def _to_arrays(rows: list[RankedLandmarks]) -> TopK:
    """Return landmark ids and confidences [N, TOP_K], padded with `NO_LANDMARK` and 0."""
    landmarks = np.full((len(rows), TOP_K), NO_LANDMARK, np.int64)
    confidences = np.zeros(landmarks.shape)
    for i, row in enumerate(rows):
        for j, (landmark, confidence) in enumerate(row):
            landmarks[i, j], confidences[i, j] = landmark, confidence
    return landmarks, confidences


def print_figures(
    expected: Mapping[str, float], measured: Mapping[str, Mapping[str, float]]
) -> None:
    """Print a table of evaluate's figures, with those of the service below."""
    names = [name for key, name in COMPARED.items() if key in expected]
    table = Table("", "photos", "of landmarks", *names, title="Test set")
    rows = {"evaluate": expected}
    rows |= {f"over HTTP, {mode}": figures for mode, figures in measured.items()}
    for name, row in rows.items():
        counts = (f"{int(row[key]):,}" for key in ("images", "landmark_images"))
        shares = (f"{row[key]:.4f}" if key in row else "–" for key in COMPARED if key in expected)
        table.add_row(name, *counts, *shares)
    console(100).print(table)


def check_figures(
    expected: Mapping[str, float],
    measured: Mapping[str, Mapping[str, float]],
    options: CheckOptions,
) -> None:
    """Check that the service's figures are those of evaluate.

    Raises:
        UserError: A figure differs by more than the tolerance; the message names it.
    """
    for mode, figures in measured.items():
        for key in ("images", "landmark_images"):
            if figures[key] != expected[key]:
                raise UserError(
                    f"{options.source} isn't the test set that evaluate saw: {figures[key]:,.0f} "
                    f"{key.replace('_', ' ')}, evaluate had {expected[key]:,.0f}"
                )
        for key in (key for key in COMPARED if key in expected):
            if not abs(figures[key] - expected[key]) <= options.tolerance:
                raise UserError(
                    f"the service doesn't answer as the models do: {key} {figures[key]:.4f} over "
                    f"HTTP ({mode}), {expected[key]:.4f} by evaluate; --tolerance allows "
                    f"{options.tolerance:g}"
                )


@contextlib.contextmanager
def start_service(options: CheckOptions) -> Iterator[str]:
    """Serve the bundle with a Ray of this process until the context ends.

    Yields:
        The service's address.

    Raises:
        UserError: The service doesn't start.
    """
    os.environ.pop("RAY_ADDRESS", None)
    fields = options.model_dump(include={*ServiceOptions.model_fields, "cluster"})
    fields |= {"host": "127.0.0.1", "port": _free_port(), "metrics_port": _free_port()}
    # when Ray ends, its core prints a line for each actor
    with silenced(1), app.local_service(ServeOptions(**fields)) as url:
        yield url


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
