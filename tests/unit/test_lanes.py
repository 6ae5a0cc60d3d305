import threading

import numpy as np
import pytest

from landmark_ray.serving.inference import CoreAllocator


@pytest.mark.parametrize(
    ("networks", "cores", "threads"),
    [
        (1, 2, [2]),
        (2, 2, [1, 1]),
        (3, 2, [1, 1, 2]),
        (11, 2, 10 * [1] + [2]),
        (11, 64, 11 * [5]),
        (2, 1, [1, 1]),
    ],
)
def test_each_network_has_its_share_of_the_cores(networks, cores, threads):
    allocator = CoreAllocator(networks, cores)
    assert [allocator.threads(number) for number in range(networks)] == threads


@pytest.mark.parametrize("networks", [1, 2, 5, 11])
@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_all_networks_answer_in_order(networks, cores):
    functions = [lambda photos, i=i: [photos + i] for i in range(networks)]
    found = CoreAllocator(networks, cores).run(functions, np.zeros(1, np.uint8))
    assert [int(said[0][0]) for said in found] == list(range(networks))


def test_two_run_at_the_same_time():
    meet = threading.Barrier(2, timeout=10)
    CoreAllocator(2, 2).run(2 * [lambda photos: [meet.wait()]], np.zeros(1, np.uint8))


def test_an_error_is_raised():
    def broken(photos):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        CoreAllocator(3, 2).run([broken, *2 * [lambda photos: []]], np.zeros(1, np.uint8))
