"""What jobs/predict.py prints at its end."""

from types import SimpleNamespace

import pytest

from landmark_ray import predict
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.submission_csv import AnswersCsv
from landmark_ray.runtime.counts import StageCounts


@pytest.mark.parametrize("warning", ["these models can't be trusted to know", ""])
def test_summary_ends_with_what_the_bundle_warns_of(capsys, warning):
    manifest = SimpleNamespace(version="abc", warning=warning)
    made = AnswersCsv("", rows=3, files=3, landmarks=3, notes=[])
    source, bundle = SimpleNamespace(left_out=LeftOut()), SimpleNamespace(manifest=manifest)
    predict.show(StageCounts(3, 3), made, source, bundle, "out/x.csv")
    said = capsys.readouterr()
    assert said.err == (f"warning: {warning}\n" if warning else "")
    assert said.out.endswith("bundle abc; answers in out/x.csv, the top k in .parquet beside it\n")
