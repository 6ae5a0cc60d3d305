"""Large photos are read at a fraction, and the limits count what reading costs."""

import pytest

from landmark_ray.kernels import image as kernel
from landmark_ray.kernels.image import ImageError, Limits
from tests.pictures import SIZE, saved, scene


def large(width: int, height: int, **options) -> bytes:
    return saved(scene(width, height), "JPEG", quality=60, **options)


@pytest.mark.parametrize("size", [(2040, 1536), (4096, 907)])
def test_large_jpeg_is_decoded_at_a_fraction(size):
    limits = Limits(max_pixels=1e6)
    for progressive in (False, True):
        data = large(*size, progressive=progressive)
        assert kernel.model_input(data, SIZE, limits).shape == (SIZE, SIZE, 3)
        assert kernel.normalise(data, Limits(max_side=100, max_pixels=1e6)).width == 100
    with pytest.raises(ImageError, match="too large"):
        kernel.model_input(saved(scene(*size), "PNG"), SIZE, limits)


@pytest.mark.parametrize(("progressive", "share"), [(False, 8), (True, 4)])
def test_a_jpeg_counts_at_a_share_of_its_pixels_at_least(progressive, share):
    data = large(1600, 1000, progressive=progressive)
    kernel.model_input(data, SIZE, Limits(max_pixels=1.6e6 / share))
    with pytest.raises(ImageError, match="too large: 1600 x 1000 pixels, more than"):
        kernel.model_input(data, SIZE, Limits(max_pixels=1.6e6 / share - 1))


def test_limit_names_its_option():
    from landmark_ray.config.curation import IngestConfig
    from landmark_ray.serving.serve_options import GraphOptions

    data = saved(scene(300, 200), "PNG")
    ingest = IngestConfig(max_megapixels=0.05).limits
    with pytest.raises(ImageError) as error:
        kernel.normalise(data, ingest)
    line = "too large: 300 x 200 pixels, more than --ingest.max_megapixels 0.05"
    assert str(error.value) == line
    with pytest.raises(ImageError, match="more than --max_megapixels 0.04$"):
        kernel.model_input(data, SIZE, GraphOptions(max_megapixels=0.04).limits(ingest))
    with pytest.raises(ImageError, match="too small: .*, less than --ingest.min_side 250$"):
        kernel.normalise(data, IngestConfig(min_side=250).limits)


def test_50_megapixel_phone_photo_is_read(shared):
    from landmark_ray.serving.serve_options import GraphOptions

    data = (shared / "field" / "pixel_50mp" / "pixel.jpg").read_bytes()
    limits = GraphOptions().limits(Limits())
    assert kernel.model_input(data, 112, limits).shape == (112, 112, 3)
