import pytest

from landmark_ray import cli
from landmark_ray.config import STAGES, Config
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.errors import UserError
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.pipeline import PipelineConfig
from landmark_ray.predict import PredictOptions
from landmark_ray.runtime import preflight
from landmark_ray.serving.serve_options import ServiceOptions
from landmark_ray.serving.service_check import CheckOptions
from tests.conftest import REPO

CONF = sorted((REPO / "jobs/conf").glob("*.toml"))


def parse(*args, model=Config):
    return cli.parse(model, args, "a job")


def refusal(*args, model=Config) -> str:
    with pytest.raises(UserError) as error:
        parse(*args, model=model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_command_line_wins_over_file_and_file_over_defaults(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("seed = 3\n[match]\nmin_inliers = 15\nmode = 'exhaustive'\n")
    config = parse("--config", str(file), "--match.min_inliers", "20")
    assert (config.match.min_inliers, config.match.mode, config.seed) == (20, "exhaustive", 3)
    assert config.prune.max_images == 100


def test_lists_are_given_with_commas():
    assert parse("--group.edges", "2,4,8").group.edges == (2, 4, 8)


def test_environment_is_never_read(monkeypatch):
    monkeypatch.setenv("ROOT", "/elsewhere")
    monkeypatch.setenv("SEED", "9")
    assert parse().root is None and parse().seed == 0


def test_unknown_option_is_refused_with_the_likely_one():
    assert refusal("--match.min_inlier", "3") == (
        "unknown option --match.min_inlier: did you mean --match.min_inliers?"
    )


def test_abbreviated_option_is_refused():
    assert "unknown option --match.min_in" in refusal("--match.min_in", "3")


def test_unknown_key_of_a_file_is_refused_with_the_likely_one(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("[match]\nmin_inlier = 3\n")
    assert refusal("--config", str(file)) == (
        f"unknown option match.min_inlier in {file}; did you mean min_inliers?"
    )
    file.write_text("[matching]\nmin_inliers = 3\n")
    assert "unknown option matching" in refusal("--config", str(file))
    assert "did you mean match?" in refusal("--config", str(file))


def test_value_out_of_range_names_option_rule_and_value():
    assert refusal("--match.ratio", "3") == (
        "option --match.ratio: Input should be less than or equal to 1, got '3'"
    )
    assert refusal("--match.mode", "fast") == (
        "option --match.mode: Input should be 'early' or 'exhaustive', got 'fast'"
    )
    assert "--group.edges: each edge must be larger" in refusal("--group.edges", "4,2")


def test_a_seed_is_refused_where_a_later_stage_could_not_use_it():
    assert "--seed: Input should be greater than or equal to 0, got '-1'" in refusal("--seed", "-1")
    assert "--seed: Input should be less than 2147483648" in refusal("--seed", str(2**31))
    assert parse("--seed", str(2**31 - 1)).seed == 2**31 - 1


def test_groups_without_an_edge_or_without_a_landmark_are_refused():
    assert "--group.edges" in refusal("--group.edges", "[]")
    assert "--group.left_out: Input should be less than 1" in refusal("--group.left_out", "1")
    assert parse("--group.left_out", "0.99").group.left_out == 0.99


def test_missing_or_broken_file_is_said(tmp_path):
    assert refusal("--config", "nowhere.toml") == "--config: there is no file nowhere.toml"
    (tmp_path / "x.toml").write_text("[match\n")
    assert "cannot be read as toml" in refusal("--config", str(tmp_path / "x.toml"))


def test_delf_needs_a_handle():
    assert "extractor delf needs extract.handle" in refusal("--extract.extractor", "delf")


@pytest.mark.parametrize("extractor", ["xfeat", "aliked", "onnx"])
def test_extractor_of_an_onnx_file_needs_a_handle(extractor):
    said = refusal("--extract.extractor", extractor)
    assert f"extractor {extractor} needs extract.handle, an ONNX file" in said


def test_any_onnx_file_needs_a_rule():
    onnx = ("--extract.extractor", "onnx", "--extract.handle", "x.onnx")
    assert "has no matching rule of its own; give match.preset" in refusal(*onnx)
    assert parse(*onnx, "--match.preset", "xfeat").match.rule("onnx") == MatchingRule.xfeat()
    assert parse(*onnx, "--match.max_distance", "0.7").match.rule("onnx").max_distance == 0.7


def test_rule_that_needs_angles_is_refused_for_keypoints_without():
    xfeat = ("--extract.extractor", "xfeat", "--extract.handle", "x.onnx")
    assert "those of xfeat do not have" in refusal(*xfeat, "--match.preset", "sift")
    assert not parse(*xfeat, "--match.preset", "sift", "--match.vote", "false").match.vote


def test_pipeline_takes_a_range_of_stages():
    config = parse("--from", "match", "--to", "resize", model=PipelineConfig)
    assert config.chosen() == ("match", "describe", "prune", "detect", "clean", "group", "resize")
    with pytest.raises(UserError, match="--from prune comes after --to match"):
        parse("--from", "prune", "--to", "match", model=PipelineConfig).chosen()
    assert "option --from: Input should be" in refusal("--from", "unknown", model=PipelineConfig)


def test_identity_names_what_decides_the_rows_and_nothing_else():
    changes = ("--ingest.buffer_mb", "1", "--cluster.cpus", "1", "--ingest.max_rejected", "1")
    assert parse(*changes).config_key("ingest") == parse().config_key("ingest")
    assert parse("--ingest.max_side", "100").config_key("ingest") != parse().config_key("ingest")
    assert parse("--seed", "1").config_key("prune") != parse().config_key("prune")


def test_default_matching_rule_belongs_to_the_extractor():
    delf = ("--extract.extractor", "delf", "--extract.handle", "x")
    assert parse().config_key("match") != parse(*delf).config_key("match")
    assert parse("--match.ratio", "0.5").match.rule("sift").ratio == 0.5
    assert (
        parse("--match.ratio", "0.5").match.rule("sift").residual
        == parse().match.rule("sift").residual
    )


def test_the_tutorials_rule_is_a_preset_for_any_extractor():
    rule = parse("--match.preset", "delf_tutorial").match.rule("sift")
    assert rule == MatchingRule.delf_tutorial()
    assert (rule.max_distance, rule.residual, rule.trials) == (0.8, 20 * 512 / 256, 1000)
    changed = parse("--match.preset", "delf_tutorial", "--match.residual", "8").match.rule("delf")
    assert changed == rule.replace(residual=8.0)


def test_early_matching_depends_on_the_cap_and_exhaustive_does_not():
    cap, every = ("--prune.max_images", "7"), ("--match.mode", "exhaustive")
    assert parse(*cap).config_key("match") != parse().config_key("match")
    assert parse(*cap, *every).config_key("match") == parse(*every).config_key("match")


def test_every_option_is_explained_with_its_default(capsys):
    with pytest.raises(SystemExit):
        parse("--help", model=PipelineConfig)
    text = " ".join(capsys.readouterr().out.split())
    sections = [PipelineConfig]
    for section in sections:
        for name, field in section.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                sections.append(field.annotation)  # explained by its options
                continue
            assert field.description, name
            assert " ".join(field.description.split()) in text, name
    assert len(sections) > 10


def test_tables_of_versions_that_always_cropped_stay_valid():
    assert "resize.fit" not in parse().config_key("resize") | parse().config_key("describe")
    assert parse("--resize.fit", "pad").config_key("resize")["resize.fit"] == "pad"


def test_describe_depends_on_the_network_only_where_it_has_weights():
    assert parse("--train.weights", "none").config_key("describe") == {"train.weights": "none"}
    for changed in (
        ("--train.network", "vgg16"),
        ("--resize.size", "96"),
        ("--resize.fit", "pad"),
    ):
        assert parse(*changed).config_key("describe") != parse().config_key("describe")
        other = parse(*changed, "--train.weights", "none").config_key("describe")
        assert other == parse("--train.weights", "none").config_key("describe")
    assert parse("--seed", "1").config_key("describe") == parse().config_key("describe")


@pytest.mark.parametrize(
    ("options", "compares"),
    [
        ((), True),
        (("--prune.agreement", "0"), False),
        (("--train.weights", "none"), False),
    ],
)
def test_photos_are_compared_where_the_network_has_weights(options, compares):
    assert parse(*options).compares == compares


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "bf16", "gpus": 1}, "precision bf16 needs runtime openvino"),
        ({"precision": "bf16", "runtime": "tensorflow"}, "precision bf16 needs runtime openvino"),
        ({"runtime": "openvino", "gpus": 1}, "runtime openvino computes on CPUs"),
        ({"index_shards": 4, "packs": 0}, "index_shards needs packs 1 or more"),
        ({"witnesses": "heads", "verify": "always"}, "verify always needs witnesses fused"),
    ],
)
def test_options_of_the_service_that_would_do_nothing_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        ServiceOptions(bundle="b", **options)


def test_there_are_files_of_options_for_the_demo_and_for_gldv2():
    assert {"demo.toml", "gldv2.toml"} <= {file.name for file in CONF}


@pytest.mark.parametrize("file", CONF, ids=lambda file: file.name)
def test_files_of_options_are_accepted_and_do_not_contradict_themselves(file):
    places = ("--source", "x", "--root", "y")
    config = parse("--config", str(file), *places, model=PipelineConfig)
    preflight.check_options(config, STAGES)
    assert config != parse(*places, model=PipelineConfig)


@pytest.mark.parametrize("options", [{"witnesses": "heads"}, {"verify": "off"}])
def test_the_check_compares_what_evaluate_measured(options):
    with pytest.raises(ValueError, match="figures are those of all witnesses: leave witnesses"):
        CheckOptions(bundle="b", source="s", **options)


def test_options_of_local_features_and_prediction_that_would_do_nothing_are_refused():
    with pytest.raises(ValueError, match="handle is of no use to extractor sift: give extractor"):
        ExtractConfig(handle="x.onnx")
    with pytest.raises(ValueError, match="verify always needs witnesses fused"):
        words = {"bundle": "b", "source": "s", "output": "o"}
        PredictOptions(**words, witnesses="heads", verify="always")
