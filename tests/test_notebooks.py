# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Several programs in one process, as notebooks run them."""

import json
import subprocess
import sys

from pages import block_with

# As `%run train.py ...` does it, twice, and then the others.
SCRIPT = """
import json, os, pathlib, runpy, signal, sys, threading
checkout, commands = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, checkout)
signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
before = [*map(signal.getsignal, signums)]
codes = []
for name, *flags in commands:
  sys.argv = [f"{checkout}/{name}.py", *flags]
  try:
    runpy.run_path(sys.argv[0], run_name="__main__")
  except SystemExit as error:
    codes.append(error.code)
from absl import flags
<functions>
print(json.dumps({
  "codes": codes,
  "gap": results["gap"] > 0,
  "threads": [thread.name for thread in threading.enumerate()],
  "same handlers": before == [*map(signal.getsignal, signums)],
  "flags": [name for name in flags.FLAGS if name.startswith("train")],
}))
"""


def test_programs_run_one_after_another(video_shards, checkout, tmp_path):
  folder = f"--train_dir={tmp_path}"
  train = ["train", f"--train_data_pattern={video_shards.train}", folder]
  size = ["--batch_size=16", "--num_classes=25", "--log_every_steps=1"]
  commands = [
    [*train, *size, "--max_steps=2"],
    [*train, "--max_steps=4"],
    [*train, "--max_step=4"],  # A usage error.
    ["eval", f"--eval_data_pattern={video_shards.validate}", folder]
    + ["--run_once"],
    ["inference", f"--input_data_pattern={video_shards.test}", folder]
    + [f"--output_file={tmp_path}/predictions.csv"],
  ]
  functions = block_with("python", "import config, eval, train")
  for text, value in {
    "/path/to/features/train*.tfrecord": video_shards.train,
    "/path/to/features/validate*.tfrecord": video_shards.validate,
    '"model"': repr(f"{tmp_path}/model"),
  }.items():
    functions = functions.replace(text, value)
  script = SCRIPT.replace("<functions>", functions)
  result = subprocess.run(
    [sys.executable, "-c", script, str(checkout), json.dumps(commands)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert json.loads(result.stdout.splitlines()[-1]) == {
    "codes": [0, 0, 2, 0, 0],
    "gap": True,
    "threads": ["MainThread"],
    "same handlers": True,
    "flags": [],
  }
  # Each run's lines come once.
  for step in (3, 4):
    assert result.stderr.count(f"training step {step} |") == (step == 4)
  assert result.stderr.count("epoch/eval number") == 2
  assert (tmp_path / "predictions.csv").exists()
