"""A network of keras-hub, as a person uses it: after `describe`, nobody reads its preset again."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.reference import Reference
from landmark_ray.serving.inference import ShardNetworks
from landmark_ray.serving.serve_options import GraphOptions
from tests import presets
from tests.conftest import line_of
from tests.training import history

pytest.importorskip("keras_hub", reason="the optional extra hub is not installed")
pytestmark = pytest.mark.ray


def test_preset_to_answers(small_source, small_root, run_job, tmp_path, monkeypatch):
    root, folder = tmp_path / "root", tmp_path / "dinov3"
    shutil.copytree(small_root, root)
    presets.write("dinov3", folder)
    options = (
        *("--source", small_source.path, "--root", root, *small_source.options),
        *("--train.network", f"hub:{folder}", "--train.weights", "imagenet"),
        *("--resize.size", "32", "--group.edges", "6,12", "--train.cpus", os.cpu_count()),
        *("--train.views", "1", "--train.head_epochs", "2", "--train.batch", "16"),
        *("--train.phases", "head,finetune", "--train.epochs", "1", "--train.patience", "1"),
    )
    done = run_job("pipeline", *options, "--redo", "describe", "--to", "describe")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    assert f"there is no folder {folder}" in line_of(
        run_job("pipeline", *options, "--redo", "describe")
    )
    done = run_job("pipeline", *options, "--from", "prune")
    assert done.returncode == 0, done.stderr
    assert len(history(root, "finetuned", 1)) == 1

    bundle, output = Bundle(str(root / "bundle")), tmp_path / "answers.csv"
    network = json.loads(bundle.read("groups/group=1/network.json"))["network"]
    assert network == "hub:DINOV3Backbone"
    words = ("--bundle", bundle.uri, "--source", small_source.path / "train", "--output", output)
    done = run_job("predict", *words)
    assert done.returncode == 0, done.stderr
    answers = dict(list(csv.reader(output.open()))[1:])
    assert sum(map(bool, answers.values())) > 60

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reference = Reference.read(bundle, REFERENCE, bundle.manifest.size)
    served, ensemble = ShardNetworks(bundle, 0, GraphOptions()), Ensemble(bundle)
    wanted = ensemble.logits(ensemble.vectors(reference.photos))
    for group, logits in served.logits(reference.photos).items():
        np.testing.assert_allclose(logits, wanted[group], atol=1e-3)
