"""Serve predictions over HTTP: python jobs/serve.py --bundle URI [--host ADDRESS --port PORT]."""

from landmark_ray import cli
from landmark_ray.serving import app, serve_options

if __name__ == "__main__":
    cli.simple(serve_options.ServeOptions, app.run, str(app.__doc__))
