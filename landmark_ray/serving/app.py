"""The graph: ingress -> packs of group models, for serve.yaml and for jobs/serve.py."""

import contextlib
import logging
import os
import re
import signal
import sys
import time
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException
from ray.serve.schema import LoggingConfig

from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.multihead import by_trunk
from landmark_ray.errors import UserError, redact_url
from landmark_ray.runtime import ray_private
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.serving import draining
from landmark_ray.serving.ingress import Ingress
from landmark_ray.serving.model_shards import Models
from landmark_ray.serving.proxy import CALLBACK
from landmark_ray.serving.recogniser import ANSWER_S
from landmark_ray.serving.serve_options import ServeOptions, ServiceOptions, check_door, check_port

NAME = "landmark_ray"

ONGOING = 10_000
"""Requests that Serve hands to a replica at once; the ingress itself says when it is full."""


ORPHANED_S = 30.0
"""For so long requests are waited for when Ray's own processes are gone."""

LOCAL = {**ray_private.SERVICE_SETTINGS, CALLBACK[0]: CALLBACK[1]}
"""Ray's settings where it is started for the service."""


def build(args: dict[str, Any]) -> serve.Application:
    """The application, for the `import_path` of a Serve configuration.

    Args:
        args: `ServiceOptions`.

    Raises:
        UserError: options are wrong, or there is no bundle.
    """
    try:
        options = ServiceOptions(**args)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"args: {place}: {problem['msg']}, got {problem['input']!r}") from None
    key = options.key()
    if host := ray_private.serve_http_options().host:
        check_door(host, key)
    bundle = Bundle(options.bundle, read=lambda name: False)
    packs = min(options.packs, len(by_trunk(bundle)))
    graph = options.graph(packs=packs)
    live: dict[str, Any] = {"user_config": {"bundle": bundle.uri}, "max_ongoing_requests": ONGOING}
    models = serve.deployment(Models).options(
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": 0.5, "num_gpus": options.gpus},
        **live,
    )
    front = serve.deployment(serve.ingress()(Ingress)).options(
        name="ingress",
        num_replicas=options.ingresses,
        ray_actor_options={"num_cpus": 0.25, "num_gpus": 0 if packs else options.gpus},
        **live,
    )
    named = [models.options(name=f"models-{pack}").bind(pack, graph) for pack in range(packs)]
    return front.bind(graph, bool(key), *named)


def run(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM; on a running cluster, deploy and leave.

    Raises:
        UserError: anything that a person can mend.
        SystemExit: after SIGTERM, with status 0.
    """
    check_door(options.host, options.key())
    app = build(options.model_dump(include=set(ServiceOptions.model_fields)))
    joined = bool(os.environ.get("RAY_ADDRESS"))
    if not joined:
        check_port(options.host, options.port, "--port")
        check_port("127.0.0.1", options.metrics_port, "--metrics_port")
        draining.allow()
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    start_ray(options, metrics_port=options.metrics_port)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    if not joined:
        signal.signal(signal.SIGTERM, _leave)  # Ray's own handler prints a C++ stack trace
    deploy(app, options)
    if joined:
        print("the same command with another --bundle rolls that out", file=sys.stderr)
        return
    metrics = f"http://127.0.0.1:{options.metrics_port}/metrics"
    print(f"metrics at {metrics}; Ctrl-C stops the service", file=sys.stderr)
    try:
        while True:
            signal.pause()
    finally:
        stop(options)


def deploy(app: serve.Application, options: ServeOptions) -> None:
    """Serve an application, and say where.

    Raises:
        UserError: it doesn't start.
    """
    http = HTTPOptions(host=options.host, port=options.port)
    try:
        serve.start(http_options=http, proxy_location="HeadOnly")
        http = ray_private.serve_http_options()  # of a cluster's Serve that ran already, its own
        check_door(str(http.host), options.key())
        serve.run(app, name=NAME, logging_config=LoggingConfig(enable_access_log=False))
    except RuntimeError as error:
        raise failed(error) from None
    place = f"http://{http.host}:{http.port}"
    print(f"serving {redact_url(options.bundle)} at {place} (page: /, API: /docs)", file=sys.stderr)


def stop(options: ServeOptions) -> None:
    """End the service when what is in work is answered; after another signal, at once.

    Not by `serve.shutdown`, over which Ray tells its users of a dead controller. Where all of Ray's
    processes were told to end, too (systemd does that without KillMode=mixed), those that answer
    still do, for as long as Ray lets this process live.
    """
    most, begun = options.upload_seconds + ANSWER_S, time.monotonic()
    try:
        while not draining.closed(options.host, options.port, 5):
            if time.monotonic() - begun > (most if ray_private.processes_alive() else ORPHANED_S):
                break
        if ray_private.processes_alive():
            with contextlib.suppress(RayError, RayServeException, TimeoutError):
                serve.delete(NAME)
    except (KeyboardInterrupt, SystemExit):
        print("stopping at once", file=sys.stderr)
    if not ray_private.processes_alive():
        os._exit(0)  # Ray would wait a minute for those that are gone, and print a stack trace
    ray.shutdown()


def _leave(*_: Any) -> None:
    """SIGTERM: leave as from any other block of code."""
    sys.exit(0)


def failed(error: RuntimeError) -> Exception:
    """Why the application didn't start."""
    status = serve.status().applications.get(NAME)
    for deployment in status.deployments.values() if status else ():
        found = re.search(r"UserError: (.+)", deployment.message)
        if found:
            return UserError(found[1])
    return error
