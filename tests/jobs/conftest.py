import os
import secrets
import shutil
from pathlib import Path

import pytest

from tests.cluster import head, runs_jobs


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """(address of the job server, environment of its clients) of a head started for the test."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    env.pop("RAY_ADDRESS", None)
    for _ in range(3):  # another program may take a port between our look and Ray's start
        with head(env) as address:
            if runs_jobs((address, env)):
                yield address, env
                return
    pytest.fail("no head that runs jobs in three attempts: see the logs in /tmp/ray")


@pytest.fixture
def again(trained_root, tmp_path) -> Path:
    """A copy of the trained root to train anew."""
    shutil.copytree(trained_root, tmp_path / "root")
    return tmp_path / "root"
