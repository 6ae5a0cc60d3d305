"""The installed command, `landmark-ray JOB [options]`. A checkout has further jobs in jobs/."""

import sys

from landmark_ray import cli, predict
from landmark_ray.config import STAGES

USAGE = """usage: landmark-ray JOB [options]

  pipeline  run the stages, from photos to a bundle
  predict   recognise the landmarks on photos, and write a csv
  serve     serve a bundle over HTTP

Run landmark-ray JOB --help for the options of a job."""


def main() -> None:
    """Run the job that the first argument names; exit with status 2 if there is none."""
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
    """Serve a bundle; exit with status 2 if the extra `serve` is not installed."""
    try:
        from landmark_ray.serving import app, serve_options
    except ModuleNotFoundError as error:
        advice = "pip install 'landmark_ray[serve]'"
        print(f"error: serve needs {error.name}, install it with: {advice}", file=sys.stderr)
        sys.exit(2)
    cli.simple(serve_options.ServeOptions, app.run, str(app.__doc__))


if __name__ == "__main__":
    main()
