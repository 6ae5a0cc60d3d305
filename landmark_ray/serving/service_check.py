"""Ask a running service for a dataset's test set, and compare with what evaluate found.

The whole way of a photo is tried, from the HTTP request to the answer: each photo alone, then
several a request. Without --url the service is started on a free port of this machine, and stopped
at the end.

    python jobs/check_service.py --bundle demo/root/bundle --source demo/source
"""

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from landmark_ray.bundle.manifest import Bundle, Manifest
from landmark_ray.config.base import Count, Options, Share
from landmark_ray.data.sources import Archive, Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.evaluation import summary
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.serving import app
from landmark_ray.serving.client import TOP_K, Client
from landmark_ray.serving.serve_options import ServeOptions, ServiceOptions

PORTS = range(20_000, 32_000)
"""Neither Ray nor outgoing connections take any of these."""

CHUNK = 64
"""Photos in memory at once."""

COMPARED = ("top1", "gap")

Solution = Mapping[str, frozenset[int]]


class CheckOptions(Options, ServiceOptions):
    """Options of jobs/check_service.py; those of the graph are for the service that it starts."""

    source: str = Field(description="the dataset whose test set evaluate saw")
    url: str = Field("", description="of a running service, such as http://127.0.0.1:8000")
    files: Count = Field(8, description="photos of a request, where several are sent at once")
    tolerance: Share = Field(
        0.02, description="so far top-1 and GAP may be from evaluate's before the check fails"
    )


def run(options: CheckOptions) -> None:
    """Ask, print the figures beside those of evaluate, and compare.

    Raises:
        UserError: they differ, or nothing can be compared.
    """
    manifest = Bundle(options.bundle, read=lambda name: False).manifest
    wanted = manifest.metrics.get("test", {})
    test = Source(options.source).test_set()
    if test is None or not set(COMPARED) <= wanted.keys():
        who = options.source if test is None else options.bundle
        raise UserError(f"{who} has no test set with landmarks: there is nothing to compare")
    with contextlib.nullcontext(options.url) if options.url else started(options) as url:
        found = asyncio.run(ask(url, *test, manifest, options))
    show(wanted, found)
    compare(wanted, found, options)


async def ask(
    url: str, archives: list[Archive], solution: Solution, manifest: Manifest, options: CheckOptions
) -> dict[str, dict[str, float]]:
    """The figures of a service, by how many photos a request had.

    Raises:
        UserError: it can't be asked, or serves another bundle.
    """
    ways = {"one a request": 1, f"{options.files} a request": options.files}
    answers: dict[str, list[list[tuple[int, float]]]] = {way: [] for way in ways}
    ids: list[str] = []
    members = (
        member
        for archive in archives
        for member in archive.members(manifest.max_megabytes * 1e6)
        if member.image_id in solution
    )
    async with Client(url, options.key(), options.max_megabytes * 1e6) as client:
        if (version := await client.version()) != manifest.version:
            raise UserError(
                f"{url} serves bundle {version}, {options.bundle} is {manifest.version}"
            )
        with ProgressBar("over HTTP", len(solution), unit="photos") as meter:
            while chunk := list(islice(members, CHUNK)):
                ids += [member.image_id for member in chunk]
                for way, files in ways.items():
                    answers[way] += await client.predict([m.data for m in chunk], files)
                meter.add(len(chunk))
    truth = [solution[image_id] for image_id in ids]
    return {way: summary(ids, truth, *_arrays(rows)) for way, rows in answers.items()}


def _arrays(rows: list[list[tuple[int, float]]]) -> tuple[Any, Any]:
    """Landmarks and confidences [N, TOP_K], filled up."""
    ranked = np.full((len(rows), TOP_K), NO_LANDMARK, np.int64)
    confidences = np.zeros(ranked.shape)
    for i, row in enumerate(rows):
        for j, (landmark, sure) in enumerate(row):
            ranked[i, j], confidences[i, j] = landmark, sure
    return ranked, confidences


def show(wanted: Mapping[str, float], found: Mapping[str, Mapping[str, float]]) -> None:
    """Print the figures of evaluate, and of the service below."""
    table = Table("", "photos", "of landmarks", "top-1", "GAP", title="Test set")
    rows = {"evaluate": wanted, **{f"over HTTP, {way}": value for way, value in found.items()}}
    for name, row in rows.items():
        counts = (f"{int(row[key]):,}" for key in ("images", "landmark_images"))
        shares = (f"{row[key]:.4f}" for key in COMPARED)
        table.add_row(name, *counts, *shares)
    Console(width=None if Console().is_terminal else 100).print(table)


def compare(
    wanted: Mapping[str, float], found: Mapping[str, Mapping[str, float]], options: CheckOptions
) -> None:
    """Compare figures.

    Raises:
        UserError: they differ, and which.
    """
    for way, figures in found.items():
        for key in ("images", "landmark_images"):
            if figures[key] != wanted[key]:
                raise UserError(
                    f"{options.source} isn't the test set that evaluate saw: {figures[key]:,.0f} "
                    f"{key.replace('_', ' ')}, evaluate had {wanted[key]:,.0f}"
                )
        for key in COMPARED:
            if not abs(figures[key] - wanted[key]) <= options.tolerance:
                raise UserError(
                    f"the service doesn't answer as the models do: {key} {figures[key]:.4f} over "
                    f"HTTP ({way}), {wanted[key]:.4f} by evaluate; --tolerance allows "
                    f"{options.tolerance:g}"
                )


@contextlib.contextmanager
def started(options: CheckOptions) -> Iterator[str]:
    """The address of a service of that bundle, in a process of its own, until the context ends.

    Raises:
        UserError: it doesn't start.
    """
    port, metrics = _free_port(), _free_port()
    fields = options.model_dump(include={*ServiceOptions.model_fields, "cluster"})
    fields |= {"host": "127.0.0.1", "port": port, "metrics_port": metrics}
    context = multiprocessing.get_context("spawn")
    said, says = context.Pipe(duplex=False)
    service = context.Process(target=_serve, args=(fields, says))
    service.start()
    says.close()
    url = f"http://127.0.0.1:{port}"
    try:
        while not _ready(f"{url}/readyz"):
            if said.poll(0.2):
                raise UserError(_last_word(said))
        yield url
    finally:
        if service.pid and service.is_alive():
            os.kill(service.pid, signal.SIGINT)
        service.join(60)
        service.kill()


def _serve(fields: dict[str, Any], says: Connection) -> None:
    """Serve, in a process of its own and with a Ray of its own; say why it can't."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Ray tells of actors that end with it
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            app.run(ServeOptions(**fields))
        except UserError as error:
            says.send(str(error))


def _last_word(said: Connection) -> str:
    try:
        return str(said.recv())
    except EOFError:
        return "the service ended before it was ready"


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    """A port of loopback that nobody listens on now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
