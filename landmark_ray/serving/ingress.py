"""The ingress deployment of Ray Serve: a recogniser behind the HTTP API."""

from fastapi import FastAPI

from landmark_ray.serving import api
from landmark_ray.serving.recogniser import Recogniser


class Ingress(Recogniser):
    """A recogniser that takes requests over HTTP."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the HTTP API in the replica; Serve calls this method by its name."""
        return api.build_app(self)
