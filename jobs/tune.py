"""Search the heads' options: python jobs/tune.py --root URI [--tune.group 3] [--output FILE]."""

from landmark_ray import cli, tune

if __name__ == "__main__":
    cli.report(tune.TuneConfig, tune.run, str(tune.__doc__), last="embed")
