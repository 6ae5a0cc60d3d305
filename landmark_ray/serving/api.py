"""The HTTP API: its routes, and error handlers that answer every error with a JSON sentence."""

from typing import Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from landmark_ray.serving import health, oip, page, predict_route
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error
from landmark_ray.serving.cors import Cors
from landmark_ray.serving.middleware import RequestGuardMiddleware
from landmark_ray.serving.oip_models import SCHEMAS
from landmark_ray.serving.recogniser import Recogniser
from landmark_ray.serving.request_names import check_query
from landmark_ray.serving.serve_options import parse_origins

ROUTING_ERRORS = {
    404: "There is nothing at {path}: GET /openapi.json lists the paths.",
    405: "{path} does not accept {method}: GET /openapi.json lists the methods of each path.",
}
"""HTTP status -> sentence, for requests that match no route."""


def build_app(service: Recogniser) -> FastAPI:
    """Build the FastAPI app that an ingress serves."""
    bearer = HTTPBearer(auto_error=False)
    app = FastAPI(
        title="landmark_ray",
        summary="Names the landmark on a photo, with a confidence.",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": Error} for code in (400, 401, 422, 429, 431, 503)},
        dependencies=[Depends(check_query), *([Depends(bearer)] if service.key else [])],
    )
    app.state.service = service
    for router in (predict_route.router, health.router, oip.router):
        app.include_router(router)
    app.router.routes += page.routes
    app.add_exception_handler(APIError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.openapi()["components"]["schemas"] |= SCHEMAS
    app.add_middleware(
        RequestGuardMiddleware, options=service.options, key=service.key, metrics=service.metrics
    )
    if allowed := parse_origins(service.options.cors_origins):
        app.add_middleware(Cors, allowed=allowed)
    return app


def _on_api_error(request: Request, error: Any) -> JSONResponse:
    request.app.state.service.metrics.count_rejection(error.reason)
    return JSONResponse(error.body, error.status, error.headers)


def _on_validation_error(request: Request, error: Any) -> JSONResponse:
    """Name the first parameter that is invalid, and say why."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
    request.app.state.service.metrics.count_rejection("option")
    return JSONResponse({"error": f"{name}: {problem['msg']}."}, 422)


def _on_http_exception(request: Request, error: Any) -> JSONResponse:
    """Answer what Starlette rejects: unknown paths and methods, and malformed forms."""
    text = f"{error.detail}".rstrip(".") + "."
    if error.status_code in ROUTING_ERRORS:
        path = quote(request.scope["path"][:200])
        text = ROUTING_ERRORS[error.status_code].format(path=path, method=request.method)
    return JSONResponse({"error": text}, error.status_code, error.headers)


def _on_disconnect(request: Request, error: Any) -> JSONResponse:
    """Answer a client that is gone; without this handler, the log would hold a traceback."""
    return JSONResponse({"error": "The client closed the connection."}, 400)
