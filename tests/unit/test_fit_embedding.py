"""What the phase metric is to train with: its network, its photos, and where its centers are."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.models import small
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.sampled_centers import SampledCenters
from landmark_ray.stages import trunk
from landmark_ray.training.worker import TrainingJob

LANDMARKS = 5
OPTIONS = {
    **{"phases": ("metric", "head"), "network": "small", "weights": "none"},
    **{"embedding": 24, "batch": 2, "precision": "float32"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Wide photos of noise, stored as squares."""
    root = Root(str(tmp_path_factory.mktemp("metric")))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4 * LANDMARKS):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(out, "JPEG")
        split = "validation" if number % 4 == 3 else "train"
        rows.append(
            {"image_id": f"{number:02d}", "landmark_id": number // 4, "jpeg": out.getvalue()}
            | {"group": 1, "split": split, "width": 400, "height": 300}
        )
    for table, schema in (("examples", schemas.EXAMPLES), ("images", schemas.IMAGES)):
        root.commit(table, 0, 0, pa.Table.from_pylist(rows, schema), "{}")
    root.commit("background", 0, 0, schemas.BACKGROUND.empty_table(), "{}")
    return root


@pytest.fixture
def asked(root, monkeypatch):
    """A function: what the training gets for options; it ends before its first step."""

    def ask(**options):
        found = {}

        def learn(job, photos, validator, network, schedule, how):
            model = network()
            found.update(photos=photos, validator=validator, how=how, model=model)
            return model, []

        monkeypatch.setattr(small, "WIDTHS", (8, 16))  # compiles faster
        monkeypatch.setattr(trunk, "set_up", lambda job: None)
        monkeypatch.setattr(trunk, "learn", learn)
        resize = {"size": 32, "fit": "pad"}
        config = Config.model_validate({"resize": resize, "train": OPTIONS | options})
        trunk.fit_embedding(TrainingJob(config, root, None, 1, 1, 0.1))
        return found

    return ask


def kernel(model):
    """The shape of the centers that the network holds."""
    (centers,) = split_classifier(model)[1].get_layer("logits").get_weights()
    return centers.shape


def test_centers_of_all_landmarks_that_fit_are_in_the_network_which_takes_squares(asked):
    found = asked()
    assert found["how"].centers is None and kernel(found["model"])[0] == LANDMARKS
    assert found["photos"].evenly and found["photos"].proportion is None
    assert found["model"].input_shape == (None, 32, 32, 3)


def test_centers_that_do_not_fit_are_outside_and_photos_keep_their_proportions(asked):
    found = asked(metric_memory_gb=1.5e-5, metric_proportions=True)
    centers = found["how"].centers
    assert isinstance(centers, SampledCenters)
    assert kernel(found["model"])[0] == 4, "the landmarks of a step"
    assert centers.centers.shape == (LANDMARKS, *kernel(found["model"])[1:])
    assert found["validator"].outputs == centers.logits
    assert found["photos"].proportion is not None and found["photos"].evenly
    assert found["model"].input_shape == (None, None, None, 3)
