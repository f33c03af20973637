# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Tries the whole suite on made-up data, in about a minute.

  python -m tools.quickstart

Writes sample shards, then trains, evaluates and infers a video-level and a
frame-level logistic model, each with the command that is printed, and ends with
a table of the results.
"""

import os
import shlex
import subprocess
import sys
import time

import program
from program import UserError

from absl import flags

import utils

_PROGRAMS_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Each level: the shards' dialect, how many videos, flags of train.py.
_LEVELS = {
  "video": (
    "v2_video",
    {"train": 4000, "validate": 1000},
    ["--model=LogisticModel", "--batch_size=256", "--num_epochs=20"],
  ),
  "frame": (
    "v2_frame",
    {"train": 800, "validate": 200},
    ["--model=FrameLevelLogisticModel", "--batch_size=128", "--num_epochs=15"],
  ),
}
_NUM_CLASSES = 200


def define_flags():
  """Defines the quick start's flags."""
  flags.DEFINE_string(
    "output_dir",
    "quickstart_output",
    "Folder for the shards, the models and the predictions, about 350 MB.",
    module_name="Output",
  )


def run():
  """Entry point."""
  program.run(main, define_flags)


def main() -> int:
  """Runs both levels and prints the table; returns the exit code."""
  start = time.monotonic()
  output_dir = os.path.abspath(flags.FLAGS.output_dir)
  table = format_table([run_level(level, output_dir) for level in _LEVELS])
  sys.stdout.write(
    f"{table}\n{time.monotonic() - start:.0f} s in all. To see the curves:\n"
    f"  {shlex.quote(sys.executable)} -m tensorboard.main "
    f"--logdir={shlex.quote(os.path.join(output_dir, 'models'))}\n"
  )
  return 0


def run_level(level: str, output_dir: str) -> dict:
  """Makes shards, trains, evaluates and infers; returns a row of the table."""
  dialect, num_videos, training_flags = _LEVELS[level]
  shards = os.path.join(output_dir, "shards", level)
  train_dir = os.path.join(output_dir, "models", f"{level}_level_logistic")
  output_file = os.path.join(output_dir, f"{level}_level_predictions.csv")
  classes = f"--num_classes={_NUM_CLASSES}"
  for prefix, count in num_videos.items():
    arguments = [f"--prefix={prefix}", f"--num_videos={count}", classes]
    arguments += [f"--output_dir={shards}", f"--dialect={dialect}"]
    run_program("-m", "tools.sample_data", *arguments, "--overwrite")
  model = f"--train_dir={train_dir}"
  train = f"--train_data_pattern={shards}/train*.tfrecord"
  run_program(
    "train.py", train, model, classes, *training_flags, "--start_new_model"
  )
  validate, batch = f"{shards}/validate*.tfrecord", "--batch_size=256"
  validation = f"--eval_data_pattern={validate}"
  run_program("eval.py", validation, model, "--run_once", batch)
  test = [f"--input_data_pattern={validate}", f"--output_file={output_file}"]
  run_program("inference.py", *test, model, batch)
  trained = utils.read_json(os.path.join(train_dir, "train_results.json"))
  results = utils.read_json(os.path.join(train_dir, "eval/eval_results.json"))
  return {
    **results,
    "level": level,
    "examples_per_second": trained["examples_per_second"],
    "files": [train_dir, output_file],
  }


def run_program(*arguments: str):
  """Prints and runs Python with these arguments.

  Raises:
    UserError: it failed; it has said why.
  """
  shown = shlex.join(["python", *arguments])
  sys.stderr.write(f"\n$ {shown}\n")
  code = subprocess.run(  # noqa: S603 Our own program.
    [sys.executable, *arguments], cwd=_PROGRAMS_DIR
  ).returncode
  if code:
    raise UserError(f"exit code {code}, see above: {shown}")


def format_table(rows: list[dict]) -> str:
  """The results of each level, and where its files are."""
  metrics = {"Hit@1": "hit_at_one", "PERR": "perr", "mAP": "map", "GAP": "gap"}
  titles = "".join(f"{title:>8}" for title in metrics)
  table = [f"\n{'level':8}{titles}{'examples/sec':>14}"]
  for row in rows:
    values = "".join(f"{row[name]:8.3f}" for name in metrics.values())
    table.append(f"{row['level']:8}{values}{row['examples_per_second']:14.0f}")
  table.append("\nModels and predictions:")
  table += [path for row in rows for path in row["files"]]
  return "\n".join(table) + "\n"


if __name__ == "__main__":
  run()
