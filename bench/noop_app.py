"""A Serve application that does nothing, for bench/serving.py: what Serve itself costs a request.

python bench/noop_app.py PORT
"""

import logging
import signal
import sys
from typing import Any

from fastapi import FastAPI, Request
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from landmark_ray.config.base import Options
from landmark_ray.runtime.ray_start import start_ray

HOST = "127.0.0.1"
app = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": 0.25}, max_ongoing_requests=100)
@serve.ingress(app)
class Nothing:
    """Takes bodies, as the service's ingress does."""

    @app.get("/readyz")
    async def ready(self) -> dict[str, Any]:
        """Answer at once."""
        return {"status": "ready"}

    @app.post("/nothing")
    async def nothing(self, request: Request) -> dict[str, Any]:
        """Receive the body."""
        await request.body()
        return {}


def main(port: int) -> None:
    """Serve until SIGINT."""
    start_ray(Options())
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        serve.start(http_options=HTTPOptions(host=HOST, port=port), proxy_location="HeadOnly")
        quiet = LoggingConfig(enable_access_log=False)
        serve.run(Nothing.bind(), name="nothing", logging_config=quiet)
        signal.pause()
    finally:
        serve.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
