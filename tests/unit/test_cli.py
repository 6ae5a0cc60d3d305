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
def root(tmp_path):
    """The ledger of a run to prune, with options of its own."""
    options = {"mode": "exhaustive", "ratio": 0.7}
    config = Config(seed=7, match=options, prune={"max_images": 50}, extract={"max_side": 512})
    root = Root(str(tmp_path))
    for stage in STAGES[: STAGES.index("group")]:
        record = ledger.begin(root, stage, config.config_key(stage), {})
        ledger.finish(root, stage, record, StageCounts(), 1.0)
    return root


def test_options_are_those_of_the_run(root):
    config = cli.recorded_config(Config(root=root.uri), root, "match")
    assert (config.seed, config.match.mode, config.match.ratio) == (7, "exhaustive", 0.7)
    assert (config.extract.max_side, config.prune.max_images, config.root) == (512, 50, root.uri)


def test_phases_of_a_run_that_has_not_come_to_finetune_are_those_of_its_trunk(root):
    """Only finetune records the phases, and metric_sizes would contradict the default."""
    train = {"phases": ("metric", "head"), "metric_sizes": (112, 224)}
    config = Config(seed=7, train=train)
    for stage in STAGES[STAGES.index("group") : STAGES.index("train")]:
        record = ledger.begin(root, stage, config.config_key(stage), {})
        ledger.finish(root, stage, record, StageCounts(), 1.0)
    found = cli.recorded_config(Config(root=root.uri), root, "embed")
    assert (found.train.phases, found.train.metric_sizes) == (("metric", "head"), (112, 224))


def test_given_options_may_repeat_the_runs_own_and_change_what_comes_later(root):
    given = Config(match={"ratio": 0.7}, prune={"max_images": 3}, cluster={"cpus": 2})
    config = cli.recorded_config(given, root, "match")
    assert (config.match.mode, config.prune.max_images) == ("exhaustive", 3)
    assert config.cluster.cpus == 2


def test_other_options_are_refused_by_name(root):
    with pytest.raises(
        UserError, match="--match.ratio 0.9: .* was made with 0.7; leave this option out"
    ):
        cli.recorded_config(Config(match={"ratio": 0.9}), root, "match")
    with pytest.raises(UserError, match="--seed 8: "):
        cli.recorded_config(Config(seed=8), root, "match")


def test_unfinished_stage_is_named(root):
    ledger.forget(root, "match")
    with pytest.raises(UserError, match="stage match is not finished; run jobs/match.py first"):
        cli.recorded_config(Config(), root, "match")


def test_ledger_with_an_unknown_option_is_one_line(root):
    record = ledger.read(root, "match")
    record["identity"]["match.colour"] = "red"
    root.write_json("_ledger/match.json", record)
    with pytest.raises(UserError, match="match.colour .* another version of this code"):
        cli.recorded_config(Config(), root, "match")


def test_ledger_that_lacks_an_option_is_one_line(root):
    record = ledger.read(root, "match")
    del record["identity"]["match.cell"]
    root.write_json("_ledger/match.json", record)
    with pytest.raises(UserError, match="another version .* lacks the option match.cell"):
        cli.recorded_config(Config(), root, "match")
