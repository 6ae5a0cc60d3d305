"""Name landmarks: python jobs/predict.py --bundle URI --source URI --output submission.csv."""

from landmark_ray import cli, predict

if __name__ == "__main__":
    cli.simple(predict.PredictOptions, predict.run, str(predict.__doc__))
