"""Which discarded images stand for what is no landmark."""

from collections import Counter

import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.data.descriptors import NEAR_ITS_LANDMARK
from landmark_ray.data.examples import background_split
from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.stages.resize import background_of, background_share

REASONS = np.array(["unverified", "small_class", "over_cap", ""])


def shard(start, n=400, landmark=7):
    reasons = REASONS[np.arange(n) % 4]
    return pa.table(
        {
            "image_id": [f"{i:016x}" for i in range(start, start + n)],
            "landmark_id": [landmark] * n,
            "keep": reasons == "",
            "reason": reasons,
        }
    )


def ids(cleaned, share, seed, agreement=None, learned=(7,)):
    kept = pa.table(
        {
            "image_id": cleaned["image_id"],
            "agreement": pa.array([agreement] * cleaned.num_rows, pa.float32()),
        }
    )
    known, config = pa.chunked_array([learned], pa.int64()), Config(seed=seed)
    return background_of(cleaned, kept, known, share, config)["image_id"].to_pylist()


def prune_dropped(root, why: dict[str, int], near=0) -> None:
    record = ledger.begin(root, "prune", {}, {})
    counts = StageCounts(reject_reasons=Counter(why), counters=Counter({NEAR_ITS_LANDMARK: near}))
    ledger.finish(root, "prune", record, counts, 1.0)


def test_about_so_many_of_all_discarded_images_are_chosen_however_they_lie_in_shards(tmp_path):
    root = Root(str(tmp_path))
    why = {"unverified": 1000, "small_class": 1000, "over_cap": 1000}
    prune_dropped(root, why)
    share = background_share(Config.model_validate({"resize": {"background": 500}}), root)
    assert share == 0.25
    several = [i for s in range(10) for i in ids(shard(s * 400), share, 0)]
    whole = ids(shard(0, 4000), share, 0)
    assert set(several) == set(whole) and 400 < len(whole) < 600
    assert not {int(i, 16) % 4 for i in whole} - {0, 1}
    assert set(ids(shard(0, 4000), share, 1)) != set(whole)


def test_all_are_chosen_where_there_are_few_and_none_on_request(tmp_path):
    root = Root(str(tmp_path))
    prune_dropped(root, {"unverified": 70})
    assert background_share(Config(), root) == 1
    assert len(ids(shard(0), 1.0, 0)) == 200
    none = Config.model_validate({"resize": {"background": 0}})
    assert background_share(none, root) == 0
    assert len(ids(shard(0), 0.0, 0)) == 0


def test_images_that_may_show_their_landmark_are_not_chosen(tmp_path):
    root = Root(str(tmp_path))
    prune_dropped(root, {"unverified": 1200}, near=200)
    config = Config.model_validate({"resize": {"background": 500}})
    assert background_share(config, root) == 0.5
    assert len(ids(shard(0), 1.0, 0, agreement=0.4)) == 200
    assert ids(shard(0), 1.0, 0, agreement=0.6) == []


def test_all_photos_of_landmarks_that_no_model_learns_are_chosen_but_those_over_the_cap():
    chosen = ids(shard(0), 0.0, 0, learned=())
    assert {int(i, 16) % 4 for i in chosen} == {3}, "those that stayed, whatever the share"
    assert {int(i, 16) % 4 for i in ids(shard(0), 1.0, 0, agreement=0.6, learned=())} == {0, 1, 3}
    assert len(ids(shard(0, 4), 0.0, 0, learned=())) == 3, "a landmark that `sample` finds small"


def test_random_choices_of_background_and_of_its_split_do_not_depend_on_each_other():
    chosen = np.array(ids(shard(0, 8000), 0.2, 0), object)
    split = background_split(chosen, np.full(len(chosen), 7), np.array([7]), 0)
    assert 0.25 < np.mean(split == "validation") < 0.35
