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

FLAGS = flags.FLAGS

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
  output_dir = os.path.abspath(FLAGS.output_dir)
  rows = [run_level(level, output_dir) for level in _LEVELS]
  seconds = time.monotonic() - start
  sys.stdout.write(format_table(rows))
  sys.stdout.write(
    f"\n{seconds:.0f} s in all. To see the curves:\n"
    f"  {shlex.quote(sys.executable)} -m tensorboard.main "
    f"--logdir={shlex.quote(os.path.join(output_dir, 'models'))}\n"
  )
  return 0


def run_level(level: str, output_dir: str) -> dict:
  """Makes shards, trains, evaluates and infers; returns a row of the table."""
  dialect, num_videos, training_flags = _LEVELS[level]
  shards_dir = os.path.join(output_dir, "shards", level)
  train_dir = os.path.join(output_dir, "models", f"{level}_level_logistic")
  output_file = os.path.join(output_dir, f"{level}_level_predictions.csv")
  for prefix, count in num_videos.items():
    run_program(
      "tools.sample_data",
      f"--output_dir={shards_dir}",
      f"--dialect={dialect}",
      f"--prefix={prefix}",
      f"--num_videos={count}",
      f"--num_classes={_NUM_CLASSES}",
      "--overwrite",
    )
  validate = os.path.join(shards_dir, "validate*.tfrecord")
  run_program(
    "train.py",
    f"--train_data_pattern={os.path.join(shards_dir, 'train*.tfrecord')}",
    f"--train_dir={train_dir}",
    f"--num_classes={_NUM_CLASSES}",
    *training_flags,
    "--start_new_model",
  )
  run_program(
    "eval.py",
    f"--eval_data_pattern={validate}",
    f"--train_dir={train_dir}",
    "--run_once",
    "--batch_size=256",
  )
  run_program(
    "inference.py",
    f"--input_data_pattern={validate}",
    f"--train_dir={train_dir}",
    f"--output_file={output_file}",
    "--batch_size=256",
  )
  trained = utils.read_json(os.path.join(train_dir, "train_results.json"))
  results = utils.read_json(os.path.join(train_dir, "eval/eval_results.json"))
  return {
    **results,
    "level": level,
    "examples_per_second": trained["examples_per_second"],
    "train_dir": train_dir,
    "output_file": output_file,
  }


def run_program(name: str, *arguments: str):
  """Prints and runs a command of the suite.

  Args:
    name: of a script, "train.py", or of a module, "tools.sample_data".
    *arguments: its arguments.

  Raises:
    UserError: it failed; it has said why.
  """
  program = [name] if name.endswith(".py") else ["-m", name]
  shown = " ".join(map(shlex.quote, ["python", *program, *arguments]))
  sys.stderr.write(f"\n$ {shown}\n")
  code = subprocess.run(  # noqa: S603 Our own program.
    [sys.executable, *program, *arguments], cwd=_PROGRAMS_DIR
  ).returncode
  if code:
    raise UserError(f"{name} ended with exit code {code}, see above.")


def format_table(rows: list[dict]) -> str:
  """The results of each level, and where its files are."""
  table = [
    f"{'level':8}{'Hit@1':>8}{'PERR':>8}{'mAP':>8}{'GAP':>8}"
    f"{'examples/sec':>14}"
  ]
  for row in rows:
    table.append(
      f"{row['level']:8}{row['hit_at_one']:8.3f}{row['perr']:8.3f}"
      f"{row['map']:8.3f}{row['gap']:8.3f}{row['examples_per_second']:14.0f}"
    )
  table.append("\nModels and predictions:")
  for row in rows:
    table += [row["train_dir"], row["output_file"]]
  return "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
  run()
