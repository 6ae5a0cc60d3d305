"""What lets others in is never shown, nor written down."""

import json
import shlex

import pytest

from landmark_ray import cli
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, redact_url, shortened
from landmark_ray.reports.commands import shown_options, verdicts_command
from landmark_ray.runtime import ledger
from landmark_ray.serving.serve_options import ServiceOptions

SECRET = "hunter2"
SIGNED = f"https://bucket.example/a.csv?X-Amz-Credential=AK&X-Amz-Signature={SECRET}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://me:{SECRET}@host/a", "https://***@host/a"),
        (
            f"ftp://me:p@{SECRET}@host:21/a, twice ftp://x@y/",
            "ftp://***@host:21/a, twice ftp://***@y/",
        ),
        (f"{SIGNED}: there is nothing", "https://bucket.example/a.csv?***: there is nothing"),
        (f"url=URL('{SIGNED}')", "url=URL('https://bucket.example/a.csv?***')"),
        (f"--match.minn {SECRET}: did you mean --match.min_inliers?", None),
        ("s3://bucket/some@where/x", "s3://bucket/some@where/x"),
    ],
)
def test_passwords_and_signatures_of_addresses_are_left_out(text, shown):
    assert redact_url(text) == (shown or text)
    assert redact_url(redact_url(text)) == redact_url(text)


def config_with_secrets() -> Config:
    return Config(
        extract={"extractor": "delf", "handle": f"https://me:{SECRET}@host/delf"},
        detect={"handle": SIGNED},
        clean={"verdicts": [SIGNED]},
        train={"weights": f"https://me:{SECRET}@host/w.weights.h5"},
    )


def test_ledgers_and_so_bundles_and_reports_hold_none(tmp_path):
    config, root = config_with_secrets(), Root(str(tmp_path))
    for stage in STAGES:
        identity = config.config_key(stage)
        ledger.begin(root, stage, identity, {})
        assert ledger.begin(root, stage, json.loads(json.dumps(identity)), {})
    written = b"".join(root.read(name) for name in root.files())
    assert b"https://***@host/delf" in written and b"a.csv?***" in written
    assert SECRET.encode() not in written


def test_pages_show_options_without_them():
    shown = shown_options(config_with_secrets())
    assert SECRET not in shown
    assert json.loads(shown)["extract"]["handle"] == "https://***@host/delf"


def test_command_of_a_page_can_be_pasted_into_a_shell_and_has_none():
    source, root = f"https://me:{SECRET}@host/my photos", "/data/a run; rm -r x"
    words = shlex.split(verdicts_command(root, source))
    assert words[words.index("--source") + 1] == "https://***@host/my photos"
    assert words[words.index("--root") + 1] == root
    assert "SOURCE" in verdicts_command(root, None)


@pytest.mark.parametrize("error", [UserError, RuntimeError])
def test_neither_lines_for_people_nor_tracebacks_show_them(capsys, error, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def fails():
        raise error(f"{SIGNED}\nand https://me:{SECRET}@host/ is ill")

    with pytest.raises(SystemExit) as ended:
        cli.guard(fails)
    said = capsys.readouterr().err
    assert ended.value.code == (2 if error is UserError else 1)
    assert SECRET not in said and "https://***@host/ is ill" in said
    assert len(said.splitlines()) == 1
    assert SECRET not in "".join(file.read_text() for file in tmp_path.rglob("*.log"))


def test_a_folder_shows_its_address_without_them():
    assert Store(f"https://me:{SECRET}@host/a").shown == "https://***@host/a"


def test_a_key_that_is_refused_is_not_shown(tmp_path):
    (tmp_path / "key").write_text(SECRET)
    options = ServiceOptions(bundle="b", key_file=str(tmp_path / "key"))
    with pytest.raises(UserError, match="--key_file") as error:
        options.key()
    assert SECRET not in str(error.value)


def test_a_secret_that_is_cut_is_not_shown():
    text = f"{'x' * 130} https://user:verysecretpassword@host/file failed"
    shown = shortened(OSError(text))
    assert "verysecret" not in shown and "https://***@" in shown
