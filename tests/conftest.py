# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: the checkout, its programs as processes, small shards."""

import dataclasses
import importlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

# Taken before program.py changes it: a program that a test starts must see what
# it would see when a user starts it.
USER_ENVIRONMENT = dict(os.environ)


def pytest_configure():
  """Imports program.py ahead of any test module that imports TensorFlow."""
  importlib.import_module("program")


@dataclasses.dataclass(frozen=True)
class ProgramResult:
  """What a finished program left behind."""

  returncode: int
  stdout: str
  stderr: str

  @property
  def output(self) -> str:
    """Both streams: the log is on stderr, results are on stdout."""
    return self.stdout + self.stderr


@dataclasses.dataclass(frozen=True)
class Shards:
  """Made-up shards of one dialect; the three globs match disjoint videos."""

  folder: pathlib.Path
  num_classes: int
  feature_sizes: dict[str, int]
  num_videos: dict[str, int]

  @property
  def train(self) -> str:
    """Glob of the training shards."""
    return str(self.folder / "train*.tfrecord")

  @property
  def validate(self) -> str:
    """Glob of the validation shards."""
    return str(self.folder / "validate*.tfrecord")

  @property
  def test(self) -> str:
    """Glob of the test shards, whose records have no labels."""
    return str(self.folder / "test*.tfrecord")


def _run_command(
  *command: str | os.PathLike,
  cwd: str | os.PathLike,
  check: bool = True,
  timeout: float = 120,
  env: dict[str, str] | None = None,
) -> ProgramResult:
  """Runs a command to its end, as a user would.

  Args:
    *command: the program and its arguments.
    cwd: the folder it starts in.
    check: fail the test when the exit code is not 0.
    timeout: seconds until the process is killed and the test fails.
    env: variables on top of the user's own environment.

  Raises:
    AssertionError: `check` is set and the exit code is not 0.
    subprocess.TimeoutExpired: it ran for longer than `timeout`.
  """
  process = subprocess.run(
    [os.fspath(part) for part in command],
    cwd=cwd,
    env={**USER_ENVIRONMENT, **(env or {})},
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
    timeout=timeout,
  )
  result = ProgramResult(process.returncode, process.stdout, process.stderr)
  if check and result.returncode != 0:
    raise AssertionError(
      f"{command} ended with {result.returncode}:\n{result.output}"
    )
  return result


@pytest.fixture(scope="session")
def checkout() -> pathlib.Path:
  """The folder that holds the programs."""
  return CHECKOUT


@pytest.fixture(scope="session")
def run_command() -> Callable[..., ProgramResult]:
  """`run_command("make", "help", cwd=folder)`; see `_run_command`."""
  return _run_command


@pytest.fixture(scope="session")
def run_program(tmp_path_factory) -> Callable[..., ProgramResult]:
  """`run_program("train", "--flag=x")` runs train.py from a folder elsewhere.

  The keyword arguments are those of `_run_command`.
  """
  elsewhere = tmp_path_factory.mktemp("elsewhere")

  def run(name: str, *flags: str, **options) -> ProgramResult:
    program = CHECKOUT / f"{name}.py"
    return _run_command(
      sys.executable, program, *flags, **{"cwd": elsewhere, **options}
    )

  return run


@pytest.fixture(scope="session")
def video_shards(tmp_path_factory) -> Shards:
  """Video-level shards with more classes than a top 20 holds; do not write."""
  return _write_shards(
    tmp_path_factory.mktemp("video_shards"),
    dialect="v2_video",
    num_classes=25,
    feature_sizes={"mean_rgb": 16, "mean_audio": 8},
  )


@pytest.fixture(scope="session")
def frame_shards(tmp_path_factory) -> Shards:
  """Frame-level shards with fewer classes than a top 20; do not write."""
  return _write_shards(
    tmp_path_factory.mktemp("frame_shards"),
    dialect="v2_frame",
    num_classes=12,
    feature_sizes={"rgb": 16, "audio": 8},
    min_frames=3,
    max_frames=12,
  )


def _write_shards(folder, dialect, num_classes, feature_sizes, **frames):
  # Imports TensorFlow, which tests of the checkout alone do without.
  sample_data = importlib.import_module("sample_data")

  # Odd numbers, so that the last batch is a partial one.
  num_videos = {"train": 121, "validate": 61, "test": 23}
  for prefix, count in num_videos.items():
    sample_data.write_shards(
      str(folder),
      dialect,
      num_videos=count,
      num_shards=3,
      num_classes=num_classes,
      feature_sizes=tuple(feature_sizes.values()),
      seed=1,
      labels=prefix != "test",
      prefix=prefix,
      **frames,
    )
  return Shards(folder, num_classes, feature_sizes, num_videos)
