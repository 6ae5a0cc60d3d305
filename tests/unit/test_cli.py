import pytest

from landmark_ray import cli
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts


class PairConfig(Config):
    pair: tuple[str, str]


def parse(*args):
    return cli.parse(PairConfig, args, "x")


@pytest.mark.parametrize("ids", [("1e10", "0012"), ("a, b/[1].jpg", '{"c"}'), ("true", "null")])
def test_two_words_are_taken_as_they_are(ids):
    config = parse("--match.min_inliers", "9", "--pair", *ids, "--seed", "3")
    assert config.pair == ids
    assert (config.match.min_inliers, config.seed) == (9, 3)


def test_two_words_come_from_a_file_too_and_the_command_line_wins(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('pair = ["x", "y"]\nseed = 4\n')
    assert parse("--config", str(file)).pair == ("x", "y")
    config = parse("--pair", "a", "b", "--config", str(file))
    assert (config.pair, config.seed, config.config) == (("a", "b"), 4, str(file))


@pytest.mark.parametrize(
    ("args", "line"), [(("--pair", "a"), "--pair: expected 2"), ((), "--pair is missing: see")]
)
def test_missing_words_are_one_line(args, line):
    with pytest.raises(UserError, match=line):
        parse(*args)


@pytest.fixture
def tables(tmp_path):
    """The ledger of a run to prune, with options of its own."""
    options = {"mode": "exhaustive", "ratio": 0.7}
    config = Config(seed=7, match=options, prune={"max_images": 50}, extract={"max_side": 512})
    tables = Root(str(tmp_path))
    for stage in STAGES[: STAGES.index("group")]:
        record = ledger.begin(tables, stage, config.config_key(stage), {})
        ledger.finish(tables, stage, record, StageCounts(), 1.0)
    return tables


def test_options_are_those_of_the_run(tables):
    config = cli.as_run(Config(root=tables.uri), tables, "match")
    assert (config.seed, config.match.mode, config.match.ratio) == (7, "exhaustive", 0.7)
    assert (config.extract.max_side, config.prune.max_images, config.root) == (512, 50, tables.uri)


def test_given_options_may_repeat_the_runs_own_and_change_what_comes_later(tables):
    given = Config(match={"ratio": 0.7}, prune={"max_images": 3}, cluster={"cpus": 2})
    config = cli.as_run(given, tables, "match")
    assert (config.match.mode, config.prune.max_images) == ("exhaustive", 3)
    assert config.cluster.cpus == 2


def test_other_options_are_refused_by_name(tables):
    with pytest.raises(UserError, match="--match.ratio 0.9: .* was made with 0.7; leave that out"):
        cli.as_run(Config(match={"ratio": 0.9}), tables, "match")
    with pytest.raises(UserError, match="--seed 8: "):
        cli.as_run(Config(seed=8), tables, "match")


def test_unfinished_stage_is_named(tables):
    ledger.forget(tables, "match")
    with pytest.raises(UserError, match="stage match is not finished; run jobs/match.py first"):
        cli.as_run(Config(), tables, "match")


def test_ledger_with_an_unknown_option_is_one_line(tables):
    record = ledger.read(tables, "match")
    record["identity"]["match.colour"] = "red"
    tables.write_json("_ledger/match.json", record)
    with pytest.raises(UserError, match="match.colour .* another version of this code"):
        cli.as_run(Config(), tables, "match")


def test_ledger_that_lacks_an_option_is_one_line(tables):
    record = ledger.read(tables, "match")
    del record["identity"]["match.cell"]
    tables.write_json("_ledger/match.json", record)
    with pytest.raises(UserError, match="another version .* lacks the option match.cell"):
        cli.as_run(Config(), tables, "match")
