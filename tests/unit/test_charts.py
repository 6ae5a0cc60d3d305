import numpy as np
import pytest

from landmark_ray.reports import charts


@pytest.mark.parametrize(
    ("high", "wanted"),
    [(0, [0]), (60, [0, 20, 40, 60]), (0.42, [0, 0.2, 0.4]), (1, [0, 0.5, 1]), (7, [0, 2, 4, 6])],
)
def test_ticks_are_round(high, wanted):
    assert charts.ticks(high) == pytest.approx(wanted)


def test_chart_places_numbers_where_they_belong():
    plot = charts.Plot(10, 20, 100, 50, (0, 2), (0, 1))
    assert plot.to_pixels(0, 0) == (10, 70)
    assert plot.to_pixels(1, 0.5) == (60, 45)
    assert plot.to_pixels(2, 1) == (110, 20)
    marks = {"<threshold>": (0.5, 0.25)}
    drawn = charts.precision_recall_chart(np.array([0.5, 1]), np.array([1, 0.5]), marks)
    # recall 0, 0.5, 1 of 48 to 344; precision 1, 1, 0.5 of 298 to 10
    assert 'points="48.0,10.0 196.0,10.0 344.0,154.0"' in drawn
    assert "&lt;threshold&gt;: precision 25%, recall 50%" in drawn


def test_counts_are_shortened():
    counts = [0, 999, 1000, 1600, 999_499, 999_500, 1_234_567]
    short = ["0", "999", "1k", "2k", "999k", "1M", "1M"]
    assert [charts.compact(n) for n in counts] == short
