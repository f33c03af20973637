# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of program.py: help, exit codes, signals, progress."""

import ast
import io
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time

import program

import pytest

# Does what its argument says; what a program is made of, and no more.
PROBE = '''
"""Does what it is told."""
import os
import signal
import time

import program

from absl import flags


def define_flags():
  flags.DEFINE_string("do", None, "What.", required=True, module_name="Group")
  flags.DEFINE_string("then", "", "What next.", module_name="Group")


def main():
  return globals()[flags.FLAGS.do]()


def return_5():
  return 5


def make_users_mistake():
  raise program.UserError("first line\\n  second   line")


def make_own_mistake():
  raise ValueError("a bug")


def wait():
  print("waiting", flush=True)
  try:
    time.sleep(60)
  finally:
    print("tidied up", flush=True)


def log_and_return():
  for _ in range(3):
    program.logging.info("a line")
  with program.ProgressDisplay("step") as display:
    display.note("a line")
  return 5


def stop_at_signal():
  with program.StopSignals() as stop:
    print("waiting", flush=True)
    while not stop.received:
      time.sleep(0.01)
    print("received", stop.received, flush=True)
    if flags.FLAGS.then == "hang":
      time.sleep(60)
  if flags.FLAGS.then == "leave":
    wait()
  return program.exit_code(stop.received)


if __name__ == "__main__":
  program.run(main, define_flags)
'''


def test_the_signal_of_another_process_is_not_the_first_of_this():
  with program.StopSignals() as stop:
    stop.received = signal.SIGTERM
    os.kill(os.getpid(), signal.SIGINT)  # A second one would end the tests.
    time.sleep(0.1)
    assert stop.received == signal.SIGTERM


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
  path = tmp_path_factory.mktemp("probe") / "probe.py"
  path.write_text(PROBE)
  return path


@pytest.fixture
def run_probe(probe, fork_program):
  return lambda do: fork_program(probe, f"--do={do}", check=False)


@pytest.fixture
def start_probe(probe, start_program):
  """Starts the probe and returns when it waits for a signal."""

  def start(*flags):
    process = start_program(probe, *flags)
    process.wait_until(lambda: "waiting" in process.stdout.read_text())
    return process

  return start


class TestExit:
  def test_code_is_what_main_returns(self, run_probe):
    result = run_probe("return_5")
    assert (result.returncode, result.output) == (5, "")

  def test_users_mistake_is_one_line(self, run_probe):
    result = run_probe("make_users_mistake")
    assert result.returncode == program.EXIT_FAILURE == 1
    assert result.output == "probe.py: error: first line second line\n"

  def test_own_bug_shows_where_it_is(self, run_probe):
    result = run_probe("make_own_mistake")
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "in make_own_mistake" in result.stderr
    assert result.stderr.endswith("ValueError: a bug\n")
    assert "error: " not in result.stderr.lower().replace("valueerror: ", "")


FAULTS_SCRIPT = """
import resource
import program
import numpy as np

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  np.ones(100_000_000, np.uint8)
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), faults())
"""


class TestMemory:
  @pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="a setting of glibc"
  )
  def test_freed_memory_is_used_again(self, checkout):
    def count(**variables):
      output = subprocess.run(
        [sys.executable, "-c", FAULTS_SCRIPT],
        cwd=checkout,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
      ).stdout
      return [int(number) for number in output.split()]

    first, second = count()
    assert second < 0.1 * first
    # What a user sets stays.
    first, second = count(MALLOC_MMAP_MAX_="1000", MALLOC_TRIM_THRESHOLD_="0")
    assert second > 0.5 * first


class TestCloudSettings:
  """What TensorFlow's gs:// finds in the environment."""

  NAMES = (
    "NO_GCE_CHECK",
    "GCE_METADATA_HOST",
    "GCS_READ_CACHE_BLOCK_SIZE_MB",
    "GCS_READAHEAD_BUFFER_SIZE_BYTES",
  )

  def settings(self, monkeypatch, path, **variables):
    """The settings, given a file with the machine's name and the user's own."""
    for name in self.NAMES:
      monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
      monkeypatch.setenv(name, value)
    program._set_up_cloud_storage(str(path))
    found = {name: os.environ.get(name) for name in self.NAMES}
    return {name: value for name, value in found.items() if value is not None}

  @pytest.mark.parametrize(
    ("product", "asks"),
    [
      ("Google Compute Engine\n", True),
      ("Google\n", True),
      ("ThinkPad\n", False),
      ("", False),
    ],
  )
  def test_only_googles_machines_ask_for_credentials(
    self, product, asks, monkeypatch, tmp_path
  ):
    path = tmp_path / "product_name"
    path.write_text(product)
    settings = self.settings(monkeypatch, path)
    assert settings.get("NO_GCE_CHECK") == (None if asks else "true")
    assert settings["GCS_READ_CACHE_BLOCK_SIZE_MB"] == "8"

  def test_an_unknown_machine_asks(self, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    settings = self.settings(monkeypatch, tmp_path / "none")
    assert settings == {"GCS_READ_CACHE_BLOCK_SIZE_MB": "8"}
    monkeypatch.setattr(sys, "platform", "darwin")
    settings = self.settings(monkeypatch, tmp_path / "none")
    assert settings["NO_GCE_CHECK"] == "true"

  @pytest.mark.parametrize(
    "variables",
    [
      {"NO_GCE_CHECK": "false", "GCS_READ_CACHE_BLOCK_SIZE_MB": "64"},
      {"GCE_METADATA_HOST": "host", "GCS_READAHEAD_BUFFER_SIZE_BYTES": "1"},
    ],
  )
  def test_what_a_user_sets_stays(self, variables, monkeypatch, tmp_path):
    path = tmp_path / "product_name"
    path.write_text("ThinkPad\n")
    assert self.settings(monkeypatch, path, **variables) == variables


@pytest.mark.parametrize(
  ("signum", "exit_code"),
  [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
class TestSignals:
  def test_program_tidies_up_and_says_why_it_ends(
    self, signum, exit_code, start_probe
  ):
    process = start_probe("--do=wait")
    process.signal(signum)
    result = process.wait()
    assert result.returncode == exit_code
    assert result.stdout == "waiting\ntidied up\n"
    assert re.fullmatch(
      rf"\S+: stopped by signal {signum:d}\.\n", result.stderr
    )

  def test_loop_ends_by_itself(self, signum, exit_code, start_probe):
    process = start_probe("--do=stop_at_signal")
    process.signal(signum)
    result = process.wait()
    assert result.returncode == exit_code
    assert result.output == f"waiting\nreceived {signum:d}\n"

  def test_second_signal_ends_a_loop_that_hangs(
    self, signum, exit_code, start_probe
  ):
    process = start_probe("--do=stop_at_signal", "--then=hang")
    process.signal(signum)
    process.wait_until(lambda: "received" in process.stdout.read_text())
    process.signal(signum)
    assert process.wait().returncode == exit_code

  def test_signal_after_the_loop_ends_the_program_as_before_it(
    self, signum, exit_code, start_probe
  ):
    process = start_probe("--do=stop_at_signal", "--then=leave")
    process.signal(signum)
    process.wait_until(lambda: process.stdout.read_text().count("waiting") == 2)
    process.signal(signum)
    result = process.wait()
    assert result.returncode == exit_code
    assert result.stdout.endswith("waiting\ntidied up\n")
    assert f"stopped by signal {signum:d}.\n" in result.stderr


@pytest.mark.parametrize(
  ("signum", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_signal_during_the_imports_shows_no_trace(signum, exit_code, checkout):
  process = subprocess.Popen(
    [sys.executable, checkout / "inference.py"], stderr=subprocess.PIPE
  )
  # TensorFlow is being loaded as soon as one of its libraries is in memory.
  maps = pathlib.Path(f"/proc/{process.pid}/maps")
  while "libtensorflow" not in maps.read_text():
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(signum)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == exit_code
  assert errors == b""


# (program, groups in order, some lines with a default or a unit)
HELP = [
  (
    "train",
    {
      *("Data", "Model folder", "Model", "Optimization"),
      *("Saving and logging", "Machine", "Several models", "DbofModel"),
      *("BranchesModel", "GruModel", "LstmModel", "ResidualMlpModel"),
      *("CrossEntropyLoss", "FocalLoss"),
    },
    {
      "iterations": "DbofModel (30)",
      "batch_size": "Videos per step, of all workers together. Default: 1024.",
      "num_classes": "Default: 3862.",
      "num_epochs": "Default: 5.",
      "base_learning_rate": "Default: 0.01.",
      "learning_rate_decay_examples": "Default: 4000000.",
      "clip_gradient_norm": "per variable",
      "save_checkpoint_secs": "Seconds between two checkpoints. Default: 60.",
      "max_to_keep": "Default: 5.",
      "train_dir": "Default: /tmp/yt8m_model/.",
      "model": "Default: LogisticModel.",
    },
  ),
  (
    "eval",
    {"Data", "Model folder", "Model", "Evaluation", "Machine"},
    {
      "batch_size": "Default: 1024.",
      "top_k": "Default: 20.",
      "run_once": "Default: False.",
      "num_classes": "Read from the train dir",
    },
  ),
  (
    "inference",
    {"Data", "Model folder", "Model", "Output", "Machine"},
    {"batch_size": "Default: 512.", "top_k": "Default: 20."},
  ),
]


@pytest.mark.parametrize(("name", "groups", "texts"), HELP)
def test_help(name, groups, texts, fork_program, checkout):
  result = fork_program(name, "--help")
  assert result.stderr == ""
  docstring = ast.get_docstring(
    ast.parse((checkout / f"{name}.py").read_text())
  )
  assert result.stdout.startswith(docstring)
  assert max(map(len, result.stdout.splitlines())) <= 80
  assert set(re.findall(r"^(\w[\w ]+):$", result.stdout, re.M)) == groups

  described = re.split(r"^  --(\w+): ", result.stdout, flags=re.M)[1:]
  names, paragraphs = described[::2], described[1::2]
  assert len(names) == len(set(names))
  found = dict(zip(names, paragraphs, strict=True))
  for flag, text in texts.items():
    assert text in " ".join(found[flag].split())
  for paragraph in paragraphs:
    assert len(paragraph.split("Default: ")[0].split()) >= 3


class Terminal(io.StringIO):
  def isatty(self):
    return True


class TestProgressDisplay:
  def test_bar_in_a_terminal(self, monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with (
      caplog.at_level("INFO"),
      program.ProgressDisplay("step", total=10, initial=5) as display,
    ):
      display.show(7, "a log line", loss="8.45")
      display.note("a line that stays")
      display.show(10, "another log line", loss="7.00")
    shown = terminal.getvalue()
    assert "5/10" in shown
    assert "10/10" in shown
    assert "loss=7.00" in shown
    assert "a line that stays\n" in shown
    assert "log line" not in shown + caplog.text

  def test_log_lines_elsewhere(self, monkeypatch, caplog):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with (
      caplog.at_level("INFO"),
      program.ProgressDisplay("step", total=10) as display,
    ):
      display.show(7, "100% of a log line", loss="8.45")
      display.note("a line that stays")
    assert caplog.messages == ["100% of a log line", "a line that stays"]


# As nohup does it.
IGNORE_HANGUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_signal_that_was_ignored_stays_so(probe, checkout, tmp_path):
  with (tmp_path / "out").open("w+") as output:
    process = subprocess.Popen(
      [sys.executable, "-c", IGNORE_HANGUP, probe, "--do=stop_at_signal"],
      env={**os.environ, "PYTHONPATH": str(checkout)},
      stdout=output,
      stderr=output,
    )
    while "waiting" not in (tmp_path / "out").read_text():
      assert process.poll() is None
      time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
  assert "received 15" in (tmp_path / "out").read_text()


def test_a_log_that_is_lost_ends_nothing(probe, checkout):
  reader, writer = os.pipe()
  os.close(reader)
  process = subprocess.Popen(
    [sys.executable, probe, "--do=log_and_return"],
    env={**os.environ, "PYTHONPATH": str(checkout)},
    stderr=writer,
  )
  os.close(writer)
  assert process.wait(timeout=60) == 5


# As `2>&-` does it in a shell.
CLOSE_STREAM = """
import os, sys
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_stream_ends_nothing(number, probe, checkout):
  result = subprocess.run(
    [
      *(sys.executable, "-c", CLOSE_STREAM, str(number)),
      *(probe, "--do=log_and_return"),
    ],
    env={**os.environ, "PYTHONPATH": str(checkout)},
    check=False,
    timeout=60,
  )
  assert result.returncode == 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_error_that_a_signal_causes_is_the_signal(signum, capsys):
  def main():
    try:
      program.raise_signal(signum)
    finally:
      raise RuntimeError("release unlocked lock")

  code = program._main_with_clear_errors(main)
  assert code == program.exit_code(signum)
  assert f"stopped by signal {signum:d}.\n" in capsys.readouterr().err


def test_no_signal_handler_is_left_behind():
  signums = program._ENDING_SIGNALS
  before = [*map(signal.getsignal, signums)]
  seen = []

  def main():
    seen.extend(map(signal.getsignal, signums))

  assert program._main_with_clear_errors(main) == 0
  assert seen != before
  assert [*map(signal.getsignal, signums)] == before
