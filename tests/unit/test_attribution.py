"""Authors and licences that a dataset names."""

import pyarrow as pa
import pytest

from landmark_ray.data.attribution import FILES, attribution_of
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from tests import drawn

IDS = pa.array(["b" * 16, "nowhere", "a" * 16])


@pytest.fixture
def folder(tmp_path):
    drawn.draw(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_photos_have_the_author_and_licence_that_the_dataset_names(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    lines = [
        "id,url,author,license,title",
        f'{"a" * 16},http://a,"Doe, Jane",https://creativecommons.org/licenses/by/3.0/,File:A.jpg',
        f"{'b' * 16},http://b,,CC0,File:B.jpg",
    ]
    (folder / name).write_text("\n".join(lines) + "\n")
    source = Source(str(folder))
    author, licence = attribution_of(source, IDS)
    assert author.to_pylist() == [None, None, "Doe, Jane"]
    assert licence.to_pylist() == ["CC0", None, "https://creativecommons.org/licenses/by/3.0/"]
    assert "attribution" not in " ".join(source.left_out.lines())


def test_without_the_file_there_are_none(folder):
    assert [values.null_count for values in attribution_of(Source(str(folder)), IDS)] == [3, 3]


def test_a_malformed_file_is_named(folder):
    (folder / FILES[0]).write_text("id,url\n1,2\n")
    with pytest.raises(UserError, match="train_attribution.csv must be a csv with the columns"):
        attribution_of(Source(str(folder)), IDS)
