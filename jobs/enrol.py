"""Add a landmark: python jobs/enrol.py --bundle URI --landmark_id N --photos FOLDER --to URI."""

from landmark_ray import cli, enrol

if __name__ == "__main__":
    cli.simple(enrol.EnrolOptions, enrol.run, str(enrol.__doc__))
