"""The installed command, `landmark-ray JOB [options]`; a checkout has more jobs, in jobs/."""

import sys

from landmark_ray import cli, predict
from landmark_ray.config import STAGES

USAGE = """usage: landmark-ray JOB [options]

  pipeline  run the stages, from photos to a bundle
  predict   name the landmarks on photos, as csv
  serve     answer over HTTP

landmark-ray JOB --help explains a job's options."""


def main() -> None:
    """Run the job that the first argument names."""
    _, job, *options = sys.argv if len(sys.argv) > 1 else [*sys.argv, "--help"]
    sys.argv = [f"landmark-ray {job}", *options]
    if job == "pipeline":
        cli.main(STAGES, f"Run the stages in order, skip finished ones: {', '.join(STAGES)}.")
    elif job == "predict":
        cli.simple(predict.PredictOptions, predict.run, str(predict.__doc__))
    elif job == "serve":
        serve()
    elif job in ("-h", "--help"):
        print(USAGE)
    else:
        print(f"error: there is no job {job}\n{USAGE}", file=sys.stderr)
        sys.exit(2)


def serve() -> None:
    """Serve a bundle, where the extra `serve` is installed."""
    try:
        from landmark_ray.serving import app, serve_options
    except ModuleNotFoundError as error:
        advice = "pip install 'landmark_ray[serve]'"
        print(f"error: serve needs {error.name}, which is not here: {advice}", file=sys.stderr)
        sys.exit(2)
    cli.simple(serve_options.ServeOptions, app.run, str(app.__doc__))


if __name__ == "__main__":
    main()
