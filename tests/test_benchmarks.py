# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and report every row; how fast is not tested here."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

import config
import experiment
import readers
from benchmarks import (
  export_parts,
  frame_parts,
  frame_reference,
  frame_sampling,
  measurements,
  metrics_parts,
  model_limits,
  processes,
  raw_reading,
  rows,
  segment_reading,
  segments_parts,
  video_parts,
)
from benchmarks import run as harness
from tools import sample_data

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
  sequence_batch=4,
  sequence_shards=10,
  sequence_steps=3,
  sequence_copies=2,
  metrics_small=32,
  metrics_large=64,
  segment_pairs=2000,
  part_repeats=2,
)
RATES = {
  "train.py": {
    "video": 2000.0,
    "video_repeated": 2500.0,
    "video_workers": 1500.0,
    "video_mixed": 3000.0,
    "frame": 50.0,
    "frame_workers": 45.0,
    "gs_near": 40.0,
    "gs_far": 34.0,
    "frame_mixed": 55.0,
    "moe": 1600.0,
    **dict.fromkeys(("dbof", "lstm", "gru", "attention"), 30.0),
  },
  "eval.py": {"video": 400.0, "frame": 60.0},
  "inference.py": {
    "video": 800.0,
    "frame": 40.0,
    "moe": 1200.0,
    **dict.fromkeys(("dbof", "lstm", "gru", "attention"), 45.0),
  },
  "tools.verify_shards": {"video": 180.0, "frame": 90.0},
}
WRAPPERS = [
  f"benchmarks.{name}"
  for name in ("repeated_batch", "two_workers", "cloud_training")
]
PARTS = {
  "video_parts": {
    "matmul_ms": 5.0,
    "keras_rate": 1000.0,
    "forward_rate": 1000.0,
  },
  "model_limits": {"matmul_ms": 8.0, "matmul_rate": 300.0, "memory_mb": 80.0},
  "frame_parts": {"raw_rate": 200.0},
  "frame_sampling": {"decode_us": 100.0, "sample_us": 30.0},
  "frame_reference": {"float32_rate": 10.0, "reference_rate": 20.0},
  "raw_reading": {"raw_rate": 200.0},
  "metrics_parts": {
    "metrics_us": 3.0,
    "argpartition_us": 2.0,
    "seconds": 7.0,
    "bytes_per_video": 240.0,
  },
  "segments_parts": {"map_ms": 500.0, "sort_ms": 200.0},
  "segment_reading": {"segments_rate": 80.0, "videos_rate": 100.0},
  "export_parts": {"export_rate": 90.0, "model_rate": 100.0},
}
# What the rows make of these figures: ratio, or figure where there is no limit,
# and whether the target is met.
EXPECTED = {
  "video_step": (16 / 2000.0 * 1e3 / 5.0, False),  # Batches of 16.
  "video_keras": (2.0, True),
  "video_pipeline": (0.8, False),
  "video_workers": (0.75, None),
  "video_mixed": (1.5, True),
  "video_mixed_gap": (0.0, None),  # Judged on real shards alone.
  "frame_reading": (0.25, True),
  "frame_sampling": (0.3, True),
  "frame_float32": (5.0, True),
  "frame_reference": (2.5, False),
  "frame_workers": (0.9, None),
  "gs_latency": (0.85, True),
  "frame_mixed": (1.1, None),
  "frame_eval": (1.2, True),
  "frame_inference": (0.8, False),
  "frame_export": (0.9, None),
  "video_eval": (0.4, False),
  "video_inference": (0.8, True),
  "moe_step": (16 / 1600.0 * 1e3 / 8.0, True),
  "moe_inference": (0.75, False),
  "dbof_rate": (30.0 / 200.0, False),  # Reading is slower than the products.
  **{f"{key}_rate": (0.1, False) for key in ("lstm", "gru", "attention")},
  **{
    f"{key}_inference": (1.5, True)
    for key in ("dbof", "lstm", "gru", "attention")
  },
  **{f"{key}_memory": (100.0 / 80.0, True) for key in measurements.MODELS},
  "verify_video": (0.9, True),
  "verify_frame": (0.45, False),
  "metrics_100k": (1.5, True),
  "metrics_1m": (1.5, True),
  "metrics_growth": (1.0, True),
  "metrics_memory": (240.0, True),
  "segments_reading": (0.8, True),
  "segments_map": (2.5, True),
  "startup": (1.0, True),
  # 100 MB, and two batches of 8 videos of 12 frames of 24 bytes.
  "frame_train_memory": (1e8 / (2 * 8 * 12 * 24), None),
  "frame_train_growth": (70 / 20, False),
  "frame_inference_memory": (1e8 / (2 * 8 * 12 * 24), None),
  "frame_inference_growth": (70 / 20, False),
}


def finished(*lines: str, memory=()) -> processes.Finished:
  """A process that wrote a line a second."""
  timed = [(float(number), line) for number, line in enumerate(lines)]
  return processes.Finished(1.0, timed, 10**8, list(memory))


def pretend(command, folder, until=None) -> processes.Finished:
  """Stands in for `processes.run`: what each program would leave behind."""
  del folder, until
  _, program, *arguments = command
  if program == "-c":
    return finished("2.21.0 3.15.1")
  if program == "-m" and arguments[0].startswith("tools."):
    program, *arguments = arguments
  if program == "-m" and arguments[0] not in WRAPPERS:
    return finished(json.dumps(PARTS[arguments[0].split(".")[1]]))
  options = dict(text[2:].split("=", 1) for text in arguments if "=" in text)
  if program == "tools.sample_data":
    return finished("Wrote 3 v2_video videos.")
  if program == "tools.verify_shards":
    level = "video" if "shards/video-" in arguments[0] else "frame"
    rate = RATES[program][level]
    return finished(f"Checked 9 videos, 1.0 MB, in 2.00 s ({rate} videos/s);")
  if program == "-m":
    program = "train.py"
  train_dir = pathlib.Path(options["train_dir"])
  rate = RATES[program].get(train_dir.name)
  # A batch a second, each of which leaves a megabyte behind.
  memory = [(float(n), n * 1_000_000) for n in range(80)]
  if program == "inference.py":
    lines = [f"num examples processed: {8 * n} | 9.9" for n in range(70)]
    last = f"Wrote 560 videos to x.csv ({rate} examples/sec)."
    return finished(*lines, last, memory=memory)
  if program == "eval.py":
    results = {"videos_per_second": rate, "gap": 0.5}
    write(train_dir / "eval" / "eval_results.json", results)
    return finished()
  write(train_dir / "train_results.json", {"examples_per_second": rate})
  steps = [f"training step {n} | Loss: 1.0" for n in range(71)]
  return finished(*steps, memory=memory)


def write(path: pathlib.Path, contents):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(contents))


def test_every_row_is_reported(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(processes, "run", pretend)
  monkeypatch.setattr(measurements, "Sizes", lambda: TINY)
  monkeypatch.setattr(harness, "processor_features", lambda: ["amx_bf16"])
  assert harness.main([f"--output_dir={tmp_path}"]) == 0
  contents = json.loads((tmp_path / "benchmark_results.json").read_text())
  judged = {
    row["name"]: (row["ratio"] or row["figure"])["median"]
    for row in contents["rows"]
  }
  assert judged == pytest.approx({k: v for k, (v, _) in EXPECTED.items()})
  met = {row["name"]: row["met"] for row in contents["rows"]}
  assert met == {name: met for name, (_, met) in EXPECTED.items()}
  assert list(met) == [row.name for row in rows.ROWS]
  output = capsys.readouterr()
  assert " (amx_bf16), TensorFlow " in output.out + output.err
  table = output.out.splitlines()
  named = [line.split()[1] for line in table if line.startswith("| ")]
  assert named[2:] == list(met)


def test_real_programs_are_measured(
  fork_program, checkout, monkeypatch, tmp_path
):
  commands = []

  def run(command, folder, until=None):
    del folder, until
    _, *arguments = command
    commands.append(arguments)
    if arguments[0] == "-c":  # It imports TensorFlow, which takes seconds.
      return finished("2.21.0 3.15.1")
    if arguments[0] == "-m":
      arguments = [f"{arguments[1].replace('.', '/')}.py", *arguments[2:]]
    result = fork_program(checkout / arguments[0], *arguments[1:])
    return finished(*result.output.splitlines())

  monkeypatch.setattr(processes, "run", run)
  monkeypatch.setattr(measurements, "Sizes", lambda: TINY)
  options = ["--rows=video_pipeline", f"--output_dir={tmp_path}", "--rounds=1"]
  assert harness.main(options) == 0
  contents = json.loads((tmp_path / "benchmark_results.json").read_text())
  (row,) = contents["rows"]
  assert row["ratio"]["median"] > 0
  # Only what is needed is measured.
  assert [command[0] for command in commands] == [
    *("-c", "-m", "train.py", "-m")
  ]
  # Shards and models that are there are used again.
  bench = measurements.Bench(tmp_path, TINY)
  assert measurements.video_inference(bench)["rate"] > 0
  assert [command[0] for command in commands[4:]] == ["inference.py"]
  lines = (tmp_path / "predictions.csv").read_text().splitlines()
  assert len(lines) == 1 + TINY.video_copies * TINY.video_shards
  assert measurements.video_verify(bench)["rate"] > 0
  assert [command[0] for command in commands[5:]] == ["-m"]


def test_real_parts_are_measured(trained_frame, frame_shards, capsys, tmp_path):
  size = f"--num_classes={frame_shards.num_classes}"
  video_parts.main([size, "--batch_size=4", "--feature_size=8", "--repeats=1"])
  model_limits.main(
    ["--model=MoeModel", size, "--feature_sizes=16,8", "--repeats=1"]
  )
  frame_parts.main([f"--shards={frame_shards.train}"])
  frame_sampling.main([f"--shards={frame_shards.train}", "--repeats=1"])
  sizes = ["--rgb_size=16", "--audio_size=8", size]
  frame_reference.main(
    [*sizes, f"--shards={frame_shards.train}", "--batch_size=16"]
  )
  raw_reading.main([f"--shards={frame_shards.train}"])
  metrics_parts.main(["--videos=64", "--num_classes=25", "--batch_size=16"])
  segments_parts.main(["--pairs=2000", "--repeats=1"])
  rated = sample_data.write_shards(
    tmp_path,
    "v2_frame",
    num_videos=8,
    num_classes=frame_shards.num_classes,
    segments=True,
  )
  segment_reading.main([f"--shards={rated[0]}", size, "--repeats=1"])
  export_parts.main(
    [
      f"--train_dir={trained_frame.train_dir}",
      f"--shards={frame_shards.test}",
      "--batch_size=4",
      "--repeats=1",
    ]
  )
  printed = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
  for figures, expected in zip(printed, PARTS.values(), strict=True):
    assert figures.keys() == expected.keys()
    positive = figures.keys() - {"bytes_per_video"}  # So few take no page.
    assert all(figures[name] > 0 for name in positive)


def test_float32_pipeline_dequantises(frame_shards):
  shards = tf.io.gfile.glob(frame_shards.train)[:1]
  schema = readers.detect_schema(shards)
  size = frame_shards.num_classes
  sizes = dict(zip(schema.feature_names, schema.feature_sizes, strict=True))
  arguments = (shards, sizes, schema.max_frames, 40, size)
  ids, values, labels, num_frames = next(
    iter(frame_reference.float32_pipeline(*arguments))
  )
  reader = readers.YT8MFrameFeatureReader(
    size, schema.feature_sizes, schema.feature_names, schema.max_frames
  )
  expected = next(iter(reader.evaluation_batches(shards, 40)))
  np.testing.assert_array_equal(ids, expected["video_ids"])
  np.testing.assert_array_equal(labels, expected["labels"])
  np.testing.assert_array_equal(num_frames, expected["num_frames"])
  codes = np.concatenate([*expected["features"].values()], axis=2)
  # 256 levels over [-2, 2], each at the middle of its bucket.
  is_frame = np.arange(300) < num_frames.numpy()[:, None]
  floats = (codes * (4 / 255) + 4 / 512 - 2) * is_frame[..., None]
  np.testing.assert_allclose(values, floats, atol=1e-6)


def test_no_round_is_begun_that_has_no_time(monkeypatch, tmp_path):
  monkeypatch.setattr(processes, "run", pretend)
  path = tmp_path / "results.json"
  options = ["--rows=metrics_memory", "--minutes=0", f"--json={path}"]
  assert harness.main(options) == 0
  contents = json.loads(path.read_text())
  assert contents["rounds"] == 1
  assert contents["rows"][0]["figure"]["samples"] == [240.0]


@pytest.mark.parametrize("name", model_limits.MODELS)
def test_limits_have_all_matrices_of_a_model(name):
  is_frame_level = name != "MoeModel"
  run_config = config.ExperimentConfig(
    model=name,
    num_classes=7,
    feature_names=("rgb", "audio"),
    feature_sizes=(16, 8),
    frame_features=is_frame_level,
  )
  model = experiment.build_model(run_config)
  matrices = [
    weight for weight in model.trainable_weights if len(weight.shape) == 2
  ]
  shape = model_limits.Shape(batch=2, frames=3, features=(16, 8), classes=7)
  layers = model_limits.MODELS[name](shape)
  assert sum(layer.weights for layer in layers) == sum(
    int(np.prod(weight.shape)) for weight in matrices
  )


def test_products_of_a_layer_are_those_of_its_gradients():
  layer = model_limits.Layer(rows=2, inner=3, columns=5, num_steps=4)
  for count, transpose_a, transpose_b, sizes in layer.products():
    model_limits.make_product(transpose_a, transpose_b, sizes)()  # They fit.
    assert count == (1 if transpose_a else 4)
  # Of 4 steps: [2, 3] by [3, 5]; [3, 8] by [8, 5]; [2, 5] by [5, 3].
  sizes = [part[-1] for part in layer.products()]
  assert sizes == [(2, 3, 5), (3, 8, 5), (2, 5, 3)]
  lowest = layer._replace(has_input_gradient=False)
  assert lowest.products() == layer.products()[:2]


def test_failure_costs_only_its_rows(monkeypatch, tmp_path, capsys):
  def run(command, *others):
    if "import tensorflow" in command:
      raise processes.ProcessError("no such module")
    return pretend(command, *others)

  monkeypatch.setattr(processes, "run", run)
  path = tmp_path / "results.json"
  asked = "--rows=startup,metrics_100k"
  assert harness.main([asked, f"--json={path}", "--scale=0.01"]) == 1
  metrics, startup = json.loads(path.read_text())["rows"]
  assert metrics["figure"]["samples"] == [3.0, 3.0, 3.0]
  assert metrics["met"] is True
  assert startup["met"] is None
  assert "no such module" in startup["note"]
  assert "startup: failed: " in capsys.readouterr().out


def test_missing_flag_skips_its_rows(monkeypatch, tmp_path):
  def run(command, *others):
    if "--mixed_precision" in command:
      raise processes.ProcessError("Unknown command line flag 'mixed_preci")
    return pretend(command, *others)

  monkeypatch.setattr(processes, "run", run)
  options = ["--rows=video_mixed", f"--output_dir={tmp_path}", "--scale=0.01"]
  assert harness.main(options) == 0
  contents = json.loads((tmp_path / "benchmark_results.json").read_text())
  notes = [row["note"] for row in contents["rows"]]
  assert notes == ["skipped: train.py has no --mixed_precision"] * 2


@pytest.mark.parametrize(
  ("values", "limits", "conditions", "met", "target"),
  [
    # Median of the rounds' ratios: 1.5, 1.2 and 1.3, not 1.2 of the medians.
    ([3.0, 6.0, 5.2], [2.0, 5.0, 4.0], {rows.BFLOAT16}, True, ">= 1.25"),
    ([1.2], [1.0], {rows.BFLOAT16}, False, ">= 1.25"),
    ([1.2], [1.0], {rows.REAL_SHARDS}, None, "report"),
  ],
)
def test_row_is_judged(values, limits, conditions, met, target):
  (row,) = (row for row in rows.ROWS if row.name == "video_mixed")
  samples = {row.figure: values, row.limit: limits}
  result = rows.evaluate(row, samples, {}, conditions)
  assert (result["met"], result["target"]) == (met, target)


def test_rows_are_chosen_by_name_or_beginning():
  names = [row.name for row in rows.choose(["video_mixed", "startup"])]
  assert names == ["video_mixed", "video_mixed_gap", "startup"]
  with pytest.raises(ValueError, match="no row 'vid'; there are video_step"):
    rows.choose(["vid"])


def test_process_is_watched(run_command, checkout):
  # In a process of its own: a child's peak is at least what its parent has,
  # and this one has TensorFlow in it.
  code = """
import json, sys
from benchmarks import processes
code = "import time; print('ready', flush=True); x = bytearray(200_000_000)"
code += "; time.sleep(0.5); print(len(x))"
big = processes.run([sys.executable, "-c", code], ".")
small = processes.run([sys.executable, "-c", ""], ".")
figures = [big.lines, big.seconds, big.peak_bytes, big.memory]
print(json.dumps([*figures, small.peak_bytes]))
"""
  result = run_command(sys.executable, "-c", code, cwd=checkout)
  lines, seconds, big, memory, small = json.loads(result.stdout)
  assert [line for _, line in lines] == ["ready", "200000000"]
  assert 0 < lines[0][0] <= lines[1][0] <= seconds
  assert 2e8 < big < 3e8
  assert memory == sorted(memory)
  assert 2e8 < max(resident for _, resident in memory) < 3e8
  assert small < 1e8  # Its own, not that of any child so far.


def test_short_run_has_no_growth():
  lines = [f"training step {n} | Loss" for n in range(10)]
  seen = finished(*lines, memory=[(1.0, 1)])
  progress = measurements._TRAIN_PROGRESS
  figures = measurements.memory_figures(seen, progress, 1, TINY)
  assert sorted(figures) == ["peak_mb", "two_batches_mb"]


def test_process_is_stopped_at_a_line():
  code = "import time; print('step 1', flush=True); time.sleep(60)"
  seen = processes.run([sys.executable, "-c", code], ".", until="step 1")
  assert seen.seconds < 30
  with pytest.raises(processes.ProcessError, match="exit code 0: nothing"):
    processes.run([sys.executable, "-c", "print('nothing')"], ".", "step 1")


def test_failed_process_says_why():
  code = "import sys; print('last words'); sys.exit(3)"
  with pytest.raises(processes.ProcessError, match="exit code 3: last words"):
    processes.run([sys.executable, "-c", code], ".")


def test_gap_is_judged_on_real_shards():
  (row,) = rows.choose(["video_mixed_gap"])
  samples = {row.figure: [0.003]}
  made_up = rows.evaluate(row, samples, {}, {rows.BFLOAT16})
  assert (made_up["met"], made_up["target"]) == (None, "report")
  assert made_up["note"].startswith("the target, <= 0.002, is for real shards")
  real = rows.evaluate(row, samples, {}, {rows.REAL_SHARDS})
  assert (real["met"], real["target"]) == (False, "<= 0.002")
