"""What pyproject.toml promises: packages, files of the wheel, and where Ray's private names are."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = {
    "requirements": ("serve", "aws"),
    "requirements-dev": ("serve", "aws", "hub", "dev"),
    "requirements-gpu": ("serve", "aws", "gpu"),
}
PRIVATE = ("landmark_ray/runtime/ray_private.py", "tests/ray_private.py")
PRIVATE_SETTING = r"RAY_(?!ADDRESS|AUTH|USAGE_STATS_ENABLED)[A-Za-z_]+"


def declared(*extras: str) -> set[str]:
    lines = [*PROJECT["project"]["dependencies"], *(line for e in extras for line in EXTRAS[e])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def declared_inline(path: str) -> set[str]:
    """What a script says that it needs in an environment of its own, in the format of PEP 723."""
    block = re.match(r"# /// script\n((?:#.*\n)+?)# ///\n", (REPO / path).read_text())
    lines = re.sub("^# ?", "", block[1], flags=re.M) if block else "dependencies = []"
    return {canonicalize_name(Requirement(x).name) for x in tomllib.loads(lines)["dependencies"]}


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for file in sorted((REPO / folder).rglob("*.py")):
            yield file.relative_to(REPO).as_posix(), ast.parse(file.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of modules, and of what is taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def optional(tree: ast.AST) -> set[str]:
    """What is imported where ImportError is caught, as it may come with an extra."""
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    caught = [t for t in tries if "ImportError" in map(ast.unparse, filter(None, types_of(t)))]
    return {name for t in caught for node in t.body for name in imported(node)}


def types_of(node: ast.Try) -> list[ast.expr | None]:
    """The exceptions that a statement catches."""
    return [handler.type for handler in node.handlers]


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("landmark_ray", "jobs"), ()),
        (("landmark_ray/serving",), ("serve",)),
        (("tests", "bench", ".ci"), ("serve", "aws", "hub", "dev")),
    ],
)
def test_what_is_imported_is_declared(folders, extras):
    distributions = packages_distributions()
    here = {file.stem for folder in folders for file in (REPO / folder).iterdir()}
    known = sys.stdlib_module_names | here | {"landmark_ray", "tests", "mark"}
    known |= {"jax"}  # whoever chooses this backend of Keras has it
    missing = {}
    for path, tree in sources(*folders):
        if path.startswith("landmark_ray/serving/") and not extras:
            continue
        needed = set(imported(tree)) - (set() if extras else optional(tree))
        for name in {name.partition(".")[0] for name in needed} - known:
            names = {canonicalize_name(found) for found in distributions.get(name, [name])}
            if not names & (declared(*extras) | declared_inline(path)):
                missing[path] = name
    assert not missing


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_what_is_declared(lock):
    pins = dict(re.findall(r"^(\S+)==([^\s;]+)", (REPO / f"{lock}.txt").read_text(), re.M))
    lines = [
        *PROJECT["project"]["dependencies"],
        *(line for e in LOCKS[lock] for line in EXTRAS[e]),
    ]
    for line in lines:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


@pytest.mark.parametrize("module", ["jax", "keras_hub", "safetensors", "yaml"])
def test_what_tests_skip_without_is_installed(module):
    assert find_spec(module), "requirements-dev.txt has it: without it, tests pass that never ran"


def test_locks_agree_on_versions():
    pins = {
        lock: set(re.findall(r"^\S+==[^\s;]+", (REPO / f"{lock}.txt").read_text(), re.M))
        for lock in LOCKS
    }
    assert pins["requirements"] < pins["requirements-dev"]
    assert pins["requirements"] < pins["requirements-gpu"]
    more = pins["requirements-gpu"] - pins["requirements"]
    assert all(pin.startswith("nvidia-") for pin in more)


def test_the_wheel_has_every_file_of_the_package():
    package = REPO / "landmark_ray"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["landmark_ray"]
    packed = {file for pattern in patterns for file in package.glob(pattern)}
    files = {f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    assert {f for f in files if f.suffix != ".py"} == packed


def private_uses(tree: ast.Module) -> Iterator[str]:
    """Names of Ray that begin with an underscore, and its undocumented settings."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for dotted, alias in zip(imported(node), node.names, strict=False):
                if dotted.split(".")[0] == "ray":
                    names.add((alias.asname or alias.name).split(".")[0])
                    if any(part.startswith("_") for part in dotted.split(".")):
                        yield dotted
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in names:
                yield node.attr
        elif isinstance(node, ast.Call):
            yield from (key.arg for key in node.keywords if re.match("_[^_]", key.arg or ""))
        elif isinstance(node, ast.Constant) and re.fullmatch(PRIVATE_SETTING, str(node.value)):
            yield node.value


@pytest.mark.parametrize(
    ("code", "uses"),
    [
        ("from ray._private import services", ["ray._private.services"]),
        (
            "from ray.serve.context import _get_global_client",
            ["ray.serve.context._get_global_client"],
        ),
        ("import ray\nray.worker._global_node.x", ["_global_node"]),
        ("import ray\nray.init(_temp_dir='/tmp')", ["_temp_dir"]),
        ("import os\nos.environ['RAY_worker_niceness'] = '0'", ["RAY_worker_niceness"]),
        ("import ray\nray.init(address=self._address, env='RAY_ADDRESS')", []),
    ],
)
def test_private_names_are_found(code, uses):
    assert list(private_uses(ast.parse(code))) == uses


def test_rays_private_names_are_in_one_file():
    found = {
        path: uses
        for path, tree in sources("landmark_ray", "jobs", "tests", "bench", "docs")
        if path not in PRIVATE and path != Path(__file__).relative_to(REPO).as_posix()
        if (uses := list(private_uses(tree)))
    }
    assert not found
