# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and report every row; how fast is not tested here."""

import json
import sys

import pytest

from benchmarks import measurements, processes, rows
from benchmarks import run as harness

TINY = measurements.Sizes(
  num_classes=25,
  feature_sizes=(16, 8),
  max_frames=12,
  video_batch=16,
  video_shards=100,
  video_steps=3,
  video_copies=2,
  frame_batch=8,
  frame_shards=20,
  frame_steps=3,
  frame_copies=2,
  metrics_small=32,
  metrics_large=64,
  part_repeats=2,
)
NEEDS_FLAG = {"video_mixed", "video_mixed_gap", "frame_mixed"}
NEEDS_LONG_RUN = {"frame_train_growth", "frame_inference_growth"}


@pytest.fixture
def forked_processes(fork_program, checkout, monkeypatch):
  """Lets the harness start processes in a fraction of the time.

  Returns the commands that it started.
  """
  commands = []

  def run(command, folder, until=None):
    del folder
    arguments = command[1:]
    commands.append(arguments)
    if arguments[0] == "-c":  # It imports TensorFlow, which takes seconds.
      return processes.Finished(1.0, [(1.0, "2.21.0 3.15.1")], 10**6, [])
    if arguments[0] == "-m":
      arguments = [f"{arguments[1].replace('.', '/')}.py", *arguments[2:]]
    path = checkout / arguments[0]
    result = fork_program(path, *arguments[1:], check=False)
    if result.returncode:
      raise processes.ProcessError(result.output)
    lines = [(1.0, line) for line in result.output.splitlines()]
    assert until is None or any(until in line for _, line in lines)
    return processes.Finished(1.0, lines, 10**6, [])

  monkeypatch.setattr(processes, "run", run)
  monkeypatch.setattr(measurements, "Sizes", lambda: TINY)
  return commands


def test_every_row_is_measured(forked_processes, tmp_path, capsys):
  folder = tmp_path / "out"
  assert harness.main([f"--output_dir={folder}", "--rounds=1"]) == 0
  contents = json.loads((folder / "benchmark_results.json").read_text())
  results = {row["name"]: row for row in contents["rows"]}
  assert list(results) == [row.name for row in rows.ROWS]
  for row in rows.ROWS:
    result = results[row.name]
    if row.name in NEEDS_LONG_RUN or result["note"]:
      assert row.name in NEEDS_LONG_RUN | NEEDS_FLAG
      continue
    assert result["figure"]["median"] >= 0
    assert (result["ratio"] is None) == (row.limit is None)
    assert (result["met"] is None) == (result["target"] == "report")
  table = capsys.readouterr().out
  for row in rows.ROWS:
    assert f"| {row.name} " in table
  assert table.count("\n| ") == len(rows.ROWS) + 1  # The line below the head.

  # Shards that are there are used again; only what a row needs is measured.
  forked_processes.clear()
  harness.main(
    [f"--output_dir={folder}", "--rounds=1", "--rows=metrics_growth"]
  )
  started = [command[1] for command in forked_processes]
  assert started[1:] == ["benchmarks.metrics_parts"] * 2


def test_failure_costs_only_its_rows(monkeypatch, tmp_path, capsys):
  def run(command, folder, until=None):
    del folder, until
    if "benchmarks.metrics_parts" in command:
      figures = {"metrics_us": 3.0, "argpartition_us": 2.0, "seconds": 1.0}
      return processes.Finished(1.0, [(0.5, json.dumps(figures))], 1, [])
    if "import tensorflow" in command:
      raise processes.ProcessError("no such module")
    return processes.Finished(1.0, [(0.5, "2.21.0 3.15.1")], 1, [])

  monkeypatch.setattr(processes, "run", run)
  path = tmp_path / "results.json"
  rows_asked = "--rows=startup,metrics_100k"
  assert harness.main([rows_asked, f"--json={path}", "--rounds=2"]) == 1
  contents = json.loads(path.read_text())
  metrics, startup = contents["rows"]
  assert metrics["figure"]["samples"] == [3.0, 3.0]
  assert metrics["ratio"] == {
    "median": 1.5,
    "min": 1.5,
    "max": 1.5,
    "samples": [1.5, 1.5],
  }
  assert metrics["met"] is True
  assert startup["met"] is None
  assert "no such module" in startup["note"]
  assert "no such module" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("values", "limits", "has_bfloat16", "met", "target"),
  [
    # Median of the rounds' ratios: 1.5, 1.2 and 1.3, not 1.2 of the medians.
    ([3.0, 6.0, 5.2], [2.0, 5.0, 4.0], True, True, ">= 1.25"),
    ([1.2], [1.0], True, False, ">= 1.25"),
    ([1.2], [1.0], False, None, "report"),
  ],
)
def test_row_is_judged(values, limits, has_bfloat16, met, target):
  (row,) = (row for row in rows.ROWS if row.name == "video_mixed")
  samples = {row.figure: values, row.limit: limits}
  result = rows.evaluate(row, samples, {}, has_bfloat16)
  assert (result["met"], result["target"]) == (met, target)


def test_rows_are_chosen_by_name_or_beginning():
  names = [row.name for row in rows.choose(["video_mixed", "startup"])]
  assert names == ["video_mixed", "video_mixed_gap", "startup"]
  with pytest.raises(ValueError, match="no row 'vid'; there are video_step"):
    rows.choose(["vid"])


def test_growth_is_taken_50_batches_apart():
  megabyte = 10**6
  # A batch a second; each leaves a megabyte behind.
  lines = [(float(n), f"training step {n} | Loss") for n in range(0, 80, 10)]
  memory = [(float(n), n * megabyte) for n in range(71)]
  finished = processes.Finished(71.0, lines, 99 * megabyte, memory)
  progress = measurements._TRAIN_PROGRESS
  figures = measurements.memory_figures(finished, progress, 1, TINY)
  assert figures == {
    "peak_mb": 99.0,
    "two_batches_mb": 2 * 8 * 12 * 24 / megabyte,
    "early_mb": 20.0,
    "late_mb": 70.0,
  }


def test_process_is_watched(tmp_path):
  code = "print('ready', flush=True); x = bytearray(200_000_000); print(len(x))"
  finished = processes.run([sys.executable, "-c", code], str(tmp_path))
  assert [line for _, line in finished.lines] == ["ready", "200000000"]
  assert 2e8 < finished.peak_bytes < 3e8
  assert 0 < finished.lines[0][0] <= finished.lines[1][0] <= finished.seconds
  # The child's own peak, not that of any child so far.
  assert processes.run([sys.executable, "-c", ""], ".").peak_bytes < 1e8


def test_process_is_stopped_at_a_line(tmp_path):
  code = "import time; print('step 1', flush=True); time.sleep(60)"
  finished = processes.run([sys.executable, "-c", code], ".", until="step 1")
  assert finished.seconds < 30
  with pytest.raises(processes.ProcessError, match="exit code 0: nothing"):
    processes.run([sys.executable, "-c", "print('nothing')"], ".", "step 1")


def test_failed_process_says_why():
  code = "import sys; print('last words'); sys.exit(3)"
  with pytest.raises(processes.ProcessError, match="exit code 3: last words"):
    processes.run([sys.executable, "-c", code], ".")
