import pytest

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import ImageError
from landmark_ray.runtime.crash_log import LOST, TRIES, CrashLog


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def dies_at(root: Root, image: str) -> None:
    """An attempt at a unit of the images a, b, c that ends without a word."""
    attempt = CrashLog(root, "extract", "1-2")
    for other in "abc":
        attempt.start_image(other)
        if other == image:
            return


def test_image_at_which_three_careful_attempts_ended_is_an_error(root):
    for _ in range(1 + TRIES):  # nobody knows where the first one ended
        dies_at(root, "b")
    attempt = CrashLog(root, "extract", "1-2")
    attempt.start_image("a")
    with pytest.raises(ImageError, match="kills its worker: 3 attempts ended"):
        attempt.start_image("b")
    attempt.start_image("c")


def test_two_killers_of_one_unit_are_both_found(root):
    for _ in range(1 + TRIES):
        dies_at(root, "a")
    for _ in range(TRIES):
        attempt = CrashLog(root, "extract", "1-2")
        with pytest.raises(ImageError):
            attempt.start_image("a")
        attempt.start_image("b")
    attempt = CrashLog(root, "extract", "1-2")
    for image in "ab":
        with pytest.raises(ImageError):
            attempt.start_image(image)
    attempt.start_image("c")


def test_attempts_that_end_here_and_there_blame_nobody(root):
    for image in "bcabcabca":  # somebody presses Ctrl-C, nodes are lost
        dies_at(root, image)
    attempt = CrashLog(root, "extract", "1-2")
    for image in "abc":
        attempt.start_image(image)


def test_worker_that_dies_at_no_image_is_an_error_in_the_end(root):
    for _ in range(LOST + 1):
        CrashLog(root, "extract", "1-2")
    with pytest.raises(UserError, match=r"the worker of 1-2 died 20 times while"):
        CrashLog(root, "extract", "1-2")
    CrashLog(root, "extract", "1-2")  # the same command tries again


def test_attempt_that_came_through_is_no_death(root):
    for _ in range(LOST + 5):  # its work is repeated, for what came of it was lost later
        CrashLog(root, "detect", "decode-1-2").finish_attempt()


def test_first_attempt_writes_once(root, monkeypatch):
    written = []
    monkeypatch.setattr(Root, "write_json", lambda *args, **_: written.append(args[1]))
    dies_at(root, "c")
    assert written == ["_staging/attempts/extract/1-2.json"]
