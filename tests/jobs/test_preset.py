"""A network of keras-hub, as a person uses it: after `describe`, nobody reads its preset again."""

import csv
import json
import os
import shutil

import pytest

from tests import presets

pytest.importorskip("keras_hub", reason="the optional extra hub is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.long]  # unit tests show each step of it


def test_preset_to_answers(small_source, small_root, run_job, tmp_path):
    root, folder = tmp_path / "root", tmp_path / "dinov3"
    shutil.copytree(small_root, root)
    presets.write("dinov3", folder)
    options = (
        *("--source", small_source.path, "--root", root, *small_source.options),
        *("--train.network", f"hub:{folder}", "--train.weights", "imagenet"),
        *("--resize.size", "32", "--group.edges", "6,12", "--train.cpus", os.cpu_count()),
        *("--train.views", "1", "--train.head_epochs", "2"),
    )
    done = run_job("pipeline", *options, "--redo", "describe", "--to", "describe")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    done = run_job("pipeline", *options, "--from", "prune")
    assert done.returncode == 0, done.stderr
    bundle, output = root / "bundle", tmp_path / "answers.csv"
    network = json.loads((bundle / "trunk/network.json").read_text())["network"]
    assert network == "hub:DINOV3Backbone"
    assert str(folder) not in (bundle / "bundle.json").read_text()
    photos = small_source.path / "train"
    done = run_job("predict", "--bundle", bundle, "--source", photos, "--output", output)
    assert done.returncode == 0, done.stderr
    answers = dict(list(csv.reader(output.open()))[1:])
    assert sum(map(bool, answers.values())) > 60
