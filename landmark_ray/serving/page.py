"""The page for people at /, and the API's documentation at /docs: files, none from elsewhere."""

from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

OWN = Path(__file__).parent / "page"
SWAGGER = Path(str(files("fastapi_swagger") / "resources"))

FILES = {
    "/": OWN / "index.html",
    "/page.css": OWN / "page.css",
    "/page.js": OWN / "page.js",
    "/docs": OWN / "docs.html",
    "/docs.js": OWN / "docs.js",
    "/docs/swagger-ui-bundle.js": SWAGGER / "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": SWAGGER / "swagger-ui.css",
}
"""What there is at each path."""


async def send(request: Request) -> FileResponse:
    """A file as it is, never parts of it: those have errors that aren't JSON."""
    request.scope["headers"] = [h for h in request.scope["headers"] if h[0] != b"range"]
    return FileResponse(FILES[request.url.path])


routes = [Route(path, send) for path in FILES]
