"""Serve a bundle over HTTP: an API, a page for people, and Prometheus metrics.

`build` makes the Serve application of an ingress and its shards, for serve.yaml and jobs/serve.py.
"""

import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException
from ray.serve.schema import LoggingConfig

from landmark_ray.bundle.exemplar_files import exemplar_info
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.multihead import by_trunk
from landmark_ray.errors import UserError, redact_url
from landmark_ray.runtime import ray_private
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.serving import draining
from landmark_ray.serving.index_shards import IndexShard
from landmark_ray.serving.ingress import Ingress
from landmark_ray.serving.model_shards import ModelShard
from landmark_ray.serving.proxy import CALLBACK
from landmark_ray.serving.recogniser import ANSWER_TIMEOUT_S
from landmark_ray.serving.serve_options import (
    ServeOptions,
    ServiceOptions,
    check_exposure,
    check_port,
)
from landmark_ray.serving.verifier import Verifier

NAME = "landmark_ray"

MAX_ONGOING_REQUESTS = 10_000
"""Requests that Serve sends to a replica at once: no limit, since the ingress limits its queue."""

ORPHAN_TIMEOUT_S = 30.0
"""How long to wait for requests in flight when Ray's own processes are gone."""

LOCAL = {**ray_private.SERVICE_SETTINGS, CALLBACK[0]: CALLBACK[1]}
"""Ray's settings where it is started for the service."""


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application; a Serve configuration names this function as its `import_path`.

    Args:
        args: The fields of `ServiceOptions`.

    Raises:
        UserError: An option is invalid, or there is no bundle.
    """
    try:
        options = ServiceOptions(**args)
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join(map(str, problem["loc"]))
        raise UserError(f"args: {option}: {problem['msg']}, got {problem['input']!r}") from None
    key = options.key()
    if host := ray_private.serve_http_options().host:
        check_exposure(host, key)
    bundle = Bundle(options.bundle, read=lambda name: False)
    shards = min(options.packs, len(by_trunk(bundle)))
    graph = options.graph(packs=shards)
    user_config = {"bundle": bundle.uri}
    shard_deployment = serve.deployment(
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": 0.5, "num_gpus": options.gpus},
        user_config=user_config,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
    )(ModelShard)
    ingress_deployment = serve.deployment(
        name="ingress",
        num_replicas=options.ingresses,
        ray_actor_options={"num_cpus": 0.25, "num_gpus": 0 if shards else options.gpus},
        user_config=user_config,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
    )(serve.ingress()(Ingress))
    index_deployment = serve.deployment(
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": 0.25},
        user_config=user_config,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
    )(IndexShard)
    verify_deployment = serve.deployment(
        name="verify",
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": 0.25},
        user_config=user_config,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
    )(Verifier)
    bound_shards = [
        shard_deployment.options(name=f"models-{shard}").bind(shard, graph)
        for shard in range(shards)
    ]
    # a bundle without an index has them, too: so one with an index can be rolled out over it
    bound_index = [
        index_deployment.options(name=f"index-{shard}").bind(shard, graph)
        for shard in range(options.index_shards if shards and options.witnesses == "fused" else 0)
    ]
    # a bundle without exemplars has none; if one with exemplars is rolled out, the ingress has them
    verifies = shards and options.witnesses == "fused" and options.verify != "off"
    verifier = verify_deployment.bind(graph) if verifies and exemplar_info(bundle) else None
    return ingress_deployment.bind(graph, bool(key), bound_shards, bound_index, verifier)


def run(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM; on a running cluster, deploy and return.

    Raises:
        UserError: An option is invalid, or the service doesn't start.
        SystemExit: After SIGTERM, with status 0.
    """
    if os.environ.get("RAY_ADDRESS"):
        check_exposure(options.host, options.key())
        app = build(options.model_dump(include=set(ServiceOptions.model_fields)))
        _start_ray(options)
        deploy(app, options)
        print("run the same command with another --bundle to roll that out", file=sys.stderr)
        return
    with local_service(options):
        metrics = f"http://127.0.0.1:{options.metrics_port}/metrics"
        print(f"metrics at {metrics}; Ctrl-C stops the service", file=sys.stderr)
        while True:
            signal.pause()


@contextlib.contextmanager
def local_service(options: ServeOptions) -> Iterator[str]:
    """Serve with a Ray of this process until the context ends.

    A signal ends the context at any time. From the moment when Serve listens, also while it still
    deploys, the requests in flight are then answered.

    Yields:
        The service's address.

    Raises:
        UserError: An option is invalid, or the service doesn't start.
        SystemExit: After SIGTERM, with status 0.
    """
    check_exposure(options.host, options.key())
    app = build(options.model_dump(include=set(ServiceOptions.model_fields)))
    check_port(options.host, options.port, "--port")
    check_port("127.0.0.1", options.metrics_port, "--metrics_port")
    draining.enable()
    signal.signal(signal.SIGTERM, _exit)
    try:
        _start_ray(options)
    except SystemExit:
        sys.exit(0)  # while Ray starts, its own handler is there, whose status is another
    signal.signal(signal.SIGTERM, _exit)  # Ray's handler prints a stack trace
    try:
        yield deploy(app, options)
    finally:
        stop(options)


def _start_ray(options: ServeOptions) -> None:
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    start_ray(options, metrics_port=options.metrics_port)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)


def deploy(app: serve.Application, options: ServeOptions) -> str:
    """Serve an application, print its address, and return it.

    Raises:
        UserError: The application doesn't start.
    """
    http = HTTPOptions(host=options.host, port=options.port)
    try:
        serve.start(http_options=http, proxy_location="HeadOnly")
        http = ray_private.serve_http_options()  # if the cluster ran Serve already, its options
        check_exposure(str(http.host), options.key())
        serve.run(app, name=NAME, logging_config=LoggingConfig(enable_access_log=False))
    except RuntimeError as error:
        raise start_error(error) from None
    url = f"http://{http.host}:{http.port}"
    print(f"serving {redact_url(options.bundle)} at {url} (page: /, API: /docs)", file=sys.stderr)
    return url


def stop(options: ServeOptions) -> None:
    """End the service when all requests in flight are answered; after another signal, at once.

    `serve.shutdown` isn't used, because Ray would then print an error about a dead controller. If
    Ray's own processes got the signal, too (from systemd, unless it has KillMode=mixed), the
    replicas still answer, for as long as Ray lets this process live.
    """
    timeout_s, start = options.upload_seconds + ANSWER_TIMEOUT_S, time.monotonic()
    try:
        while not draining.drain(options.host, options.port, 5):
            waited_s = time.monotonic() - start
            if waited_s > (timeout_s if ray_private.processes_alive() else ORPHAN_TIMEOUT_S):
                break
        if ray_private.processes_alive():
            with contextlib.suppress(RayError, RayServeException, TimeoutError):
                serve.delete(NAME)
    except (KeyboardInterrupt, SystemExit):
        print("stopping at once", file=sys.stderr)
    if not ray_private.processes_alive():
        os._exit(0)  # Ray would wait a minute for those that are gone, and print a stack trace
    ray.shutdown()


def _exit(*_: Any) -> None:
    """Handle SIGTERM with a SystemExit, so that `finally` blocks run."""
    sys.exit(0)


def start_error(error: RuntimeError) -> Exception:
    """Return why the application didn't start: a deployment's UserError, or else `error`."""
    status = serve.status().applications.get(NAME)
    for deployment in status.deployments.values() if status else ():
        match = re.search(r"UserError: (.+)", deployment.message)
        if match:
            return UserError(match[1])
    return error
