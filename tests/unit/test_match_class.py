"""A class's pairs, however it is cut into parts: the stage's logic on made-up match graphs."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.kernels.matching import PairResult
from landmark_ray.stages import match, prune


class Images:
    """A class whose features are the images' numbers."""

    landmark_id = 7

    def __init__(self, n):
        self.ids = [f"{i:02d}" for i in range(n)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, image):
        return image

    def duplicates(self, a, b):
        return a == b

    def mean_descriptors(self):
        return np.random.default_rng(0).normal(size=(len(self), 4))


@pytest.fixture
def graph(monkeypatch):
    """Sets which pairs of a class match."""

    def use(n, seed, share):
        rng = np.random.default_rng(seed)
        inliers = {
            pair: int(rng.integers(11, 30) if rng.random() < share else rng.integers(0, 11))
            for pair in itertools.combinations(range(n), 2)
        }

        def match_pair(a, b, rule, *, stop_below, seed):
            matches = np.zeros((40, 2), np.int32)
            return PairResult(matches, np.zeros(40, bool), inliers[a, b])

        monkeypatch.setattr(match, "match_pair", match_pair)
        return Images(n)

    return use


def config_of(mode, **options):
    prune_options = {"max_images": options.pop("cap", 100), "min_images": 2}
    return Config.model_validate({"match": {"mode": mode} | options, "prune": prune_options})


def kept(images, pairs, config):
    rows = match.pa.table({"image_id": images.ids, "landmark_id": [7] * len(images)})
    table, _ = prune.prune_rows(rows, pairs, config)
    return [(r["image_id"], r["keep"], r["reason"]) for r in table.to_pylist()]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.01, 0.05, 0.3]),
    cap=st.integers(1, 30),
    task_pairs=st.integers(1, 500),
    min_partners=st.integers(1, 2),
)
def test_what_is_kept_does_not_depend_on_mode_or_parts(
    graph, n, seed, share, cap, task_pairs, min_partners
):
    images = graph(n, seed, share)
    options = {"cap": cap, "min_partners": min_partners}
    exhaustive = config_of("exhaustive", **options)
    every = match.match_class(images, exhaustive)
    assert every.num_rows == n * (n - 1) // 2
    for pairs in (10_000, task_pairs):
        lazy = config_of("early", task_pairs=pairs, **options)
        found = match.match_class(images, lazy)
        names = list(zip(found["image_a"].to_pylist(), found["image_b"].to_pylist(), strict=True))
        assert names == sorted(set(names))
        assert kept(images, found, lazy) == kept(images, every, exhaustive)


def test_a_chunk_is_given_the_pairs_of_its_own_images_and_no_others(graph):
    images, seen = graph(40, 1, 0.02), []
    early = config_of("early", task_pairs=100, cap=10)

    def run(chunks):
        seen.extend(chunks)
        return [match.match_chunk(images, chunk, early) for chunk in chunks]

    found = match.match_class(images, early, run)
    assert found.equals(match.match_class(images, early))
    assert any(chunk.known for chunk in seen)
    for chunk in seen:
        assert all(set(pair) & set(chunk.images) for pair in chunk.known), chunk.name


def test_chunks_reserve_no_memory_which_their_task_keeps(monkeypatch, tmp_path):
    reserved, ran = [], []

    class Task:
        def __init__(self, work):
            assert work is match.run_chunk

        def options(self, **options):
            reserved.append(options)
            return self

        def remote(self, place, chunk, config, root, name):
            ran.append(chunk.name)
            root.write_table(name, match.schemas.PAIRS.empty_table())

    monkeypatch.setattr(match.ray, "remote", Task)
    monkeypatch.setattr(match.ray, "get", lambda found: found)
    images, chunks = Images(4), [match.Chunk("0", [0, 1]), match.Chunk("1", [2, 3])]
    images.location = (0, 0, 7)
    config = config_of("exhaustive", memory_gb=1.5)
    assert match.run_chunks(images, config, Root(str(tmp_path)), chunks) == [{}, {}]
    assert ran == ["0", "1"]
    assert reserved == [{"num_cpus": 1.0}]


def test_matching_every_pair_gives_equal_rows_however_it_is_cut(graph):
    images = graph(30, 0, 0.05)
    whole = match.match_class(images, config_of("exhaustive"))
    assert match.match_class(images, config_of("exhaustive", task_pairs=50)).equals(whole)


def test_partners_are_all_others_the_likeliest_first():
    assert list(match.all_partners(2, [4, 2, 0], Images(6))) == [4, 0, 1, 3, 5]


def test_likeliest_partners_have_the_most_similar_mean_descriptors():
    means = np.array([[1, 0, 0], [0.9, 0.1, 0.1], [0, 1, 0], [0.1, 0.9, 0.2]], np.float32)
    first, third = match.likeliest_partners(means, [0, 2])
    assert first[:2] == [0, 1] and third[:2] == [2, 3]
    assert match.likeliest_partners(np.zeros((3, 0), np.float32), [1]) == [[0, 1, 2]]
