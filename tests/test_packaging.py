# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Every way in which the programs are started and shipped.

Each start that imports TensorFlow takes seconds, so each test asks one program
for its `--help`: that takes all of its imports and none of its work.
"""

import ast
import importlib.metadata
import pathlib
import re
import runpy
import shutil
import sys
import tarfile

import pytest
from installing import PIP_INSTALL, copy_top_level, make_environment

# Packages whose import has another name than their distribution.
DISTRIBUTIONS = {
  "absl": "absl-py",
  "google": "protobuf",
  "google_crc32c": "google-crc32c",
}
# Packages that are used where they are installed.
OPTIONAL = {"pandas"}


@pytest.fixture(scope="module")
def source_copy(checkout, tmp_path_factory) -> pathlib.Path:
  """What git would check out at the root, where a build may leave traces."""
  return copy_top_level(checkout, tmp_path_factory.mktemp("parent"))


@pytest.fixture(scope="module")
def sdist(source_copy, run_command) -> pathlib.Path:
  """The archive that cloud jobs install from."""
  run_command(sys.executable, "setup.py", "-q", "sdist", cwd=source_copy)
  (archive,) = (source_copy / "dist").iterdir()
  return archive


def assert_is_help_of_train(text: str, checkout: pathlib.Path):
  """Checks for the program's own description and one of its flags."""
  docstring = ast.get_docstring(ast.parse((checkout / "train.py").read_text()))
  assert text.startswith(docstring.splitlines()[0])
  assert "--train_data_pattern" in text


def test_script_starts_from_another_folder(checkout, run_program):
  assert_is_help_of_train(run_program("train", "--help").stdout, checkout)


def test_module_starts_from_the_parent_of_a_hyphenated_folder(
  checkout, run_command, tmp_path
):
  (tmp_path / "youtube-8m").symlink_to(checkout)
  # What happens to lie in the parent folder must not be imported.
  for name in ("program", "utils", "readers"):
    (tmp_path / f"{name}.py").write_text("raise ImportError(__file__)")

  result = run_command(
    sys.executable, "-m", "youtube-8m.train", "--help", cwd=tmp_path
  )
  assert_is_help_of_train(result.stdout, checkout)


@pytest.mark.parametrize("editable", [False, True])
def test_installed_command_starts(
  editable, sdist, source_copy, checkout, run_command, tmp_path
):
  make_environment(tmp_path / "env")
  python = tmp_path / "env" / "bin" / "python"
  what = ("--editable", source_copy) if editable else (sdist,)
  run_command(python, *PIP_INSTALL, *what, cwd=tmp_path)

  result = run_command(
    tmp_path / "env" / "bin" / "yt8m-train", "--help", cwd=tmp_path
  )
  assert_is_help_of_train(result.stdout, checkout)


def test_sdist_carries_every_module(sdist, checkout):
  with tarfile.open(sdist) as archive:
    names = {name.partition("/")[2] for name in archive.getnames()}
  modules = {path.name for path in checkout.glob("*.py")}
  modules |= {f"tools/{path.name}" for path in checkout.glob("tools/*.py")}
  assert modules | {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_setup_reads_no_other_file(checkout, run_command, tmp_path):
  shutil.copy(checkout / "setup.py", tmp_path)
  result = run_command(sys.executable, "setup.py", "--version", cwd=tmp_path)
  assert re.fullmatch(r"\d+\.\d+\.\d+", result.stdout.strip())


def metadata(sdist) -> importlib.metadata.PathDistribution:
  """The metadata that the build wrote beside the sources."""
  (egg_info,) = sdist.parent.parent.glob("*.egg-info")
  return importlib.metadata.PathDistribution(egg_info)


def test_entry_points_exist(sdist, checkout):
  entry_points = metadata(sdist).entry_points
  assert {entry_point.name for entry_point in entry_points} == {
    *("yt8m-train", "yt8m-eval", "yt8m-inference", "yt8m-sample-data"),
    *("yt8m-verify-shards", "yt8m-download", "yt8m-quickstart"),
    *("yt8m-check-submission", "yt8m-export-model", "yt8m-ensemble"),
  }
  for entry_point in entry_points:
    package, *path = entry_point.module.split(".")
    tree = ast.parse((checkout / f"{'/'.join(path)}.py").read_text())
    functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    assert (package, entry_point.attr in functions) == ("youtube_8m", True)


def test_imported_packages_are_declared(sdist, checkout):
  declared = {
    re.match(r"[\w-]+", requirement).group()
    for requirement in metadata(sdist).requires
    if "extra ==" not in requirement
  }
  paths = [*checkout.glob("*.py"), *checkout.glob("tools/*.py")]
  own = {path.stem for path in paths} | {"tools"}
  imported = set()
  for path in paths:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        imported |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        imported.add(node.module.split(".")[0])
  others = imported - own - OPTIONAL - {*sys.stdlib_module_names, "setuptools"}
  assert {DISTRIBUTIONS.get(name, name) for name in others} <= declared


def test_makefile_refuses_the_interpreters_that_setup_refuses(sdist, checkout):
  requires = metadata(sdist).metadata["Requires-Python"]
  versions = re.findall(r"(\d+)\.(\d+)", requires)
  lower, upper = sorted((int(major), int(minor)) for major, minor in versions)
  makefile = (checkout / "Makefile").read_text()
  last = (upper[0], upper[1] - 1)
  assert f"{lower} <= sys.version_info[:2] <= {last}" in makefile


def test_package_puts_its_folder_first_and_once(checkout, monkeypatch):
  folder = str(checkout)
  others = [path for path in sys.path if path != folder]
  monkeypatch.setattr(sys, "path", ["/first", folder, *others, folder])
  for _ in range(2):
    runpy.run_path(str(checkout / "__init__.py"))
    assert sys.path == [folder, "/first", *others]
