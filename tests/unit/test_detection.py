import numpy as np
import pytest

from landmark_ray.kernels.detection import Detections, Detector, contains_any, covered_share
from tests.detector import ENTITIES, save


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = save(tmp_path_factory.mktemp("detector") / "model")
    return Detector(str(path), min_score=0.1, threads=1)


def painted(*areas):
    """A blue image of 40 x 80 pixels with rectangles (entity, top, left, bottom, right)."""
    image = np.full((40, 80, 3), (20, 20, 200), np.uint8)
    for entity, top, left, bottom, right in areas:
        image[top:bottom, left:right] = np.array(ENTITIES[entity]) * 255
    return image


def test_boxes_are_where_the_objects_are_in_shares_of_the_image(detector):
    found = detector(painted(("Person", 10, 20, 30, 40), ("Tree", 0, 60, 40, 80)))
    assert sorted(found.entities) == ["Person", "Tree"]
    boxes = dict(zip(found.entities, found.boxes.tolist(), strict=True))
    assert boxes["Person"] == pytest.approx([0.25, 0.25, 0.75, 0.5])
    assert boxes["Tree"] == pytest.approx([0, 0.75, 1, 1])


def test_the_surest_comes_first_and_unsure_ones_are_left_out(detector):
    half = ("Tree", 0, 40, 20, 60), ("Tree", 20, 60, 40, 80)
    found = detector(painted(("Building", 0, 0, 40, 20), *half))
    assert found.entities == ["Building", "Tree"], "the model names them the other way round"
    assert found.scores.tolist() == pytest.approx([1, 0.5])
    specks = ("Person", 0, 40, 5, 45), ("Person", 35, 75, 40, 80)  # in one large box: score 0.03
    assert detector(painted(("Building", 0, 0, 40, 20), *specks)).entities == ["Building"]


def test_an_image_without_objects(detector):
    found = detector(painted())
    assert found.entities == [] and found.boxes.shape == (0, 4)


BOXES = Detections(
    ["Person", "Man", "Tree", "Building"],
    np.array([0.9, 0.8, 0.5, 0.2], np.float32),
    np.array([[0, 0, 1, 0.5], [0, 0.25, 1, 0.5], [0, 0.5, 0.5, 1], [0, 0, 1, 1]], np.float32),
)


def test_what_overlaps_is_covered_once():
    assert covered_share(BOXES, {"Person", "Man"}, 0.3) == pytest.approx(0.5)
    assert covered_share(BOXES, {"Person", "Tree"}, 0.3) == pytest.approx(0.75)
    assert covered_share(BOXES, {"Boat"}, 0.3) == 0


def test_unsure_objects_do_not_count():
    assert covered_share(BOXES, {"Building"}, 0.3) == 0 and not contains_any(
        BOXES, {"Building"}, 0.3
    )
    assert contains_any(BOXES, {"Building"}, 0.1)


def test_a_model_without_boxes_is_refused(tmp_path):
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)])
        def run(self, images):
            return {"detection_scores": tf.reduce_sum(images)[None]}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), {"default": model.run})
    with pytest.raises(ValueError, match="lacks the output detection_class_entities") as error:
        Detector(str(tmp_path / "model"), min_score=0.1)
    assert "openimages_v4/ssd/mobilenet_v2" in str(error.value)
