# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: the checkout, its programs as processes, small shards."""

import contextlib
import dataclasses
import functools
import importlib
import itertools
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import worker_processes

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

# Taken before program.py changes it: a program that a test starts must see what
# it would see when a user starts it.
USER_ENVIRONMENT = dict(os.environ)


def pytest_configure():
  """Imports program.py ahead of any test module that imports TensorFlow."""
  importlib.import_module("program")
  # A shell starts background jobs with SIGINT ignored, which is inherited.
  signal.signal(signal.SIGINT, signal.default_int_handler)


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

  def labels(self, prefix: str) -> dict[str, set[int]]:
    """Video id -> labels, in the order of the records."""
    # Imports TensorFlow, which tests of the checkout alone do without.
    tf = importlib.import_module("tensorflow")
    paths = sorted(map(str, self.folder.glob(f"{prefix}*.tfrecord")))
    labels = {}
    for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
      # The context of a tf.SequenceExample has the same place and type.
      context = tf.train.Example.FromString(record).features.feature
      (video_id,) = context["id"].bytes_list.value
      labels[video_id.decode()] = set(context["labels"].int64_list.value)
    return labels


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


@pytest.fixture(autouse=True)
def logs_reach_caplog():
  """Resets absl's logger, which programs that run in this process configure."""
  absl_logger = logging.getLogger("absl")
  absl_logger.propagate = True
  absl_logger.setLevel(logging.NOTSET)


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

  `run_program("tools.download", "--flag=x")` runs a tool.

  The keyword arguments are those of `_run_command`.
  """
  elsewhere = tmp_path_factory.mktemp("elsewhere")

  def run(name: str, *flags: str, env=None, **options) -> ProgramResult:
    command = [CHECKOUT / f"{name}.py"]
    if name.startswith("tools."):
      command = ["-m", name]
      env = {**(env or {}), "PYTHONPATH": str(CHECKOUT)}
    options = {"cwd": elsewhere, "env": env, **options}
    return _run_command(sys.executable, *command, *flags, **options)

  return run


class StartedProgram:
  """A program that runs in a copy of the process of fork_programs.py.

  Attributes:
    pid: its process id.
    stdout: path of the file that holds what it prints.
    stderr: path of the file that holds its log and errors.
  """

  def __init__(self, ask, request):
    self._ask = ask
    self._returncode = None
    self.stdout = pathlib.Path(request["stdout"])
    self.stderr = pathlib.Path(request["stderr"])
    for path in (self.stdout, self.stderr):
      path.touch()  # So that they can be read from the start.
    self.pid = ask(request)

  def poll(self) -> int | None:
    """Its exit code, negative for a signal; None while it runs."""
    if self._returncode is None:
      self._returncode = self._ask({"poll": self.pid})
    return self._returncode

  def signal(self, signum: int):
    """Sends a signal, unless it has ended."""
    if self.poll() is None:
      os.kill(self.pid, signum)

  def wait_until(self, condition: Callable[[], object], timeout: float = 60):
    """Waits for a condition to hold; fails if the program ends before."""
    deadline = time.monotonic() + timeout
    while not condition():
      ended = self.poll() is not None and not condition()
      if ended or time.monotonic() > deadline:
        self.signal(signal.SIGKILL)
        raise AssertionError(f"Waited in vain:\n{self.stderr.read_text()}")
      time.sleep(0.02)

  def wait_for_line(self, pattern: str, timeout: float = 60):
    """Waits until its log holds a line in which a pattern is found."""
    self.wait_until(
      lambda: re.search(pattern, self.stderr.read_text()), timeout
    )

  def wait(self, timeout: float = 60) -> ProgramResult:
    """Waits for its end; kills it, and fails the test, if that takes longer."""
    self.wait_until(lambda: self.poll() is not None, timeout)
    return ProgramResult(
      self.poll(), self.stdout.read_text(), self.stderr.read_text()
    )


@contextlib.contextmanager
def _program_starter(
  elsewhere: pathlib.Path, env: dict[str, str]
) -> Iterator[Callable[..., StartedProgram]]:
  """A function that starts programs in `elsewhere`; see `start_program`.

  Args:
    elsewhere: an empty folder.
    env: variables that TensorFlow reads when it is imported.
  """
  server = subprocess.Popen(
    [
      *(sys.executable, "-W", "ignore:This process:DeprecationWarning"),
      *(CHECKOUT / "tests" / "fork_programs.py", CHECKOUT),
    ],
    env={**USER_ENVIRONMENT, **env},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  started, numbers = [], itertools.count()

  def ask(request):
    server.stdin.write(f"{json.dumps(request)}\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())

  def start(name: str | pathlib.Path, *flags: str, env=None) -> StartedProgram:
    number = next(numbers)
    request = {
      "command": [
        str(CHECKOUT / f"{str(name).replace('.', '/')}.py"),
        *flags,
      ],
      "cwd": str(elsewhere),
      "env": env or {},
      "stdout": str(elsewhere / f"{number}.stdout"),
      "stderr": str(elsewhere / f"{number}.stderr"),
    }
    if isinstance(name, pathlib.Path):
      request["command"][0] = str(name)
    started.append(StartedProgram(ask, request))
    return started[-1]

  yield start
  for program in started:
    program.signal(signal.SIGKILL)
  server.communicate(timeout=60)


@pytest.fixture(scope="session")
def start_program(tmp_path_factory) -> Iterator[Callable[..., StartedProgram]]:
  """`start_program("train", "--flag=x")` starts train.py and returns at once.

  It takes a fraction of the time of `run_program`, see fork_programs.py. A path
  instead of a name starts any other script.
  """
  with _program_starter(tmp_path_factory.mktemp("forked"), {}) as start:
    yield start


@pytest.fixture(scope="session")
def program_starter() -> Callable[..., contextlib.AbstractContextManager]:
  """`program_starter(folder, env)`, a context; see `_program_starter`."""
  return _program_starter


@pytest.fixture(scope="session")
def fork_program(start_program) -> Callable[..., ProgramResult]:
  """`fork_program("train", "--flag=x")` runs train.py to its end, quickly.

  With `check=False` its exit code need not be 0.
  """

  def run(name: str | pathlib.Path, *flags, check=True, **options):
    result = start_program(name, *flags, **options).wait()
    if check and result.returncode != 0:
      raise AssertionError(
        f"{name} {flags} ended with {result.returncode}:\n{result.output}"
      )
    return result

  return run


@pytest.fixture(scope="module")
def start_workers(start_program):
  """`start_workers(2, "train", "--flag=x")`: the chief first."""
  return functools.partial(worker_processes.start, start_program)


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
  sample_data = importlib.import_module("tools.sample_data")

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


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained model, and how its trainer ran.

  Attributes:
    train_dir: its folder; copy it before changing anything in it.
    shards: the shards it was trained on.
    flags: the trainer's flags besides --train_dir.
    result: what the trainer said.
    num_steps: steps it should have taken.
  """

  train_dir: pathlib.Path
  shards: Shards
  flags: tuple[str, ...]
  result: ProgramResult
  num_steps: int


@pytest.fixture(scope="session")
def trained_video(run_program, video_shards, tmp_path_factory) -> Trained:
  """A video-level model, trained by a process of its own."""
  return _train(run_program, video_shards, tmp_path_factory)


@pytest.fixture(scope="session")
def trained_frame(fork_program, frame_shards, tmp_path_factory) -> Trained:
  """A frame-level model."""
  return _train(
    fork_program,
    frame_shards,
    tmp_path_factory,
    "--model=FrameLevelLogisticModel",
  )


def _train(run, shards, tmp_path_factory, *more_flags) -> Trained:
  train_dir = tmp_path_factory.mktemp("models") / "model"
  batch_size, num_epochs = 16, 10
  flags = (
    f"--train_data_pattern={shards.train}",
    f"--num_classes={shards.num_classes}",
    f"--batch_size={batch_size}",
    f"--num_epochs={num_epochs}",
    "--seed=3",
    *more_flags,
  )
  result = run("train", f"--train_dir={train_dir}", *flags)
  # The last batch of each pass over the shards is a partial one.
  num_steps = num_epochs * -(-shards.num_videos["train"] // batch_size)
  return Trained(train_dir, shards, flags, result, num_steps)


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """What eval.py --run_once said of a model and the validation shards.

  Attributes:
    results: what `eval_results.json` holds.
    result: the program's exit code and output.
  """

  results: dict[str, float]
  result: ProgramResult


@pytest.fixture(scope="session")
def evaluated_video(run_program, trained_video) -> Evaluated:
  """The video-level model's evaluation, by a process of its own."""
  return _evaluate(run_program, trained_video)


@pytest.fixture(scope="session")
def evaluated_frame(fork_program, trained_frame) -> Evaluated:
  """The frame-level model's evaluation."""
  return _evaluate(fork_program, trained_frame)


def _evaluate(run, trained) -> Evaluated:
  result = run(
    "eval",
    f"--train_dir={trained.train_dir}",
    f"--eval_data_pattern={trained.shards.validate}",
    "--run_once",
  )
  path = trained.train_dir / "eval" / "eval_results.json"
  return Evaluated(json.loads(path.read_text()), result)
