# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Tries the whole suite on made-up data, in about a minute.

  python -m tools.quickstart --segments

Writes sample shards, then trains, evaluates and infers a video-level and a
frame-level logistic model, each with the command that is printed, and ends with
a table of the results. With --segments a third model is trained on segments
that were rated, and its CSV of the best segments is checked.
"""

import os
import shlex
import subprocess
import sys
import time
from typing import NamedTuple

import program
from program import UserError

from absl import flags

import utils

_PROGRAMS_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Level(NamedTuple):
  """What a model is trained on, and how.

  Attributes:
    dialect: of the shards.
    num_videos: number of videos by the shards' prefix.
    training: flags of train.py.
    of_segments: whether a row is a segment.
  """

  dialect: str
  num_videos: dict[str, int]
  training: tuple[str, ...]
  of_segments: bool = False


_LEVELS = {
  "video": _Level(
    "v2_video",
    {"train": 4000, "validate": 1000},
    ("--model=LogisticModel", "--batch_size=256", "--num_epochs=20"),
  ),
  "frame": _Level(
    "v2_frame",
    {"train": 800, "validate": 200},
    ("--model=FrameLevelLogisticModel", "--batch_size=128", "--num_epochs=15"),
  ),
  "segment": _Level(
    "v2_frame",
    {"train": 800, "validate": 200},
    ("--model=FrameLevelLogisticModel", "--batch_size=128", "--num_epochs=15"),
    of_segments=True,
  ),
}
_METRICS = {
  **{"Hit@1": "hit_at_one", "PERR": "perr", "mAP": "map", "GAP": "gap"},
  "MAP@K": "map_at_k",
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
  flags.DEFINE_bool(
    "segments",
    False,
    "Also train on segments that were rated, and find the best ones.",
    module_name="Data",
  )


def run():
  """Entry point."""
  program.run(main, define_flags)


def main() -> int:
  """Runs the levels and prints the table; returns the exit code."""
  start = time.monotonic()
  output_dir = os.path.abspath(flags.FLAGS.output_dir)
  levels = [
    name
    for name, level in _LEVELS.items()
    if flags.FLAGS.segments or not level.of_segments
  ]
  table = format_table([run_level(name, output_dir) for name in levels])
  sys.stdout.write(
    f"{table}\n{time.monotonic() - start:.0f} s in all. To see the curves:\n"
    f"  {shlex.quote(sys.executable)} -m tensorboard.main "
    f"--logdir={shlex.quote(os.path.join(output_dir, 'models'))}\n"
  )
  return 0


def run_level(name: str, output_dir: str) -> dict:
  """Makes shards, trains, evaluates and infers; returns a row of the table."""
  level = _LEVELS[name]
  shards = os.path.join(output_dir, "shards", name)
  train_dir = os.path.join(output_dir, "models", f"{name}_level_logistic")
  output_file = os.path.join(output_dir, f"{name}_level_predictions.csv")
  classes = f"--num_classes={_NUM_CLASSES}"
  for prefix, count in level.num_videos.items():
    arguments = [f"--prefix={prefix}", f"--num_videos={count}", classes]
    arguments += [f"--output_dir={shards}", f"--dialect={level.dialect}"]
    arguments += ["--segments"] * level.of_segments
    run_program("-m", "tools.sample_data", *arguments, "--overwrite")
  common = [f"--train_dir={train_dir}"]
  common += ["--segment_labels"] * level.of_segments
  train = f"--train_data_pattern={shards}/train*.tfrecord"
  run_program(
    "train.py", train, *common, classes, *level.training, "--start_new_model"
  )
  validate, batch = f"{shards}/validate*.tfrecord", "--batch_size=256"
  validation = f"--eval_data_pattern={validate}"
  run_program("eval.py", validation, *common, "--run_once", batch)
  test = [f"--input_data_pattern={validate}", f"--output_file={output_file}"]
  run_program("inference.py", *test, *common, batch)
  if level.of_segments:
    run_program("-m", "tools.check_submission", output_file)
  trained = utils.read_json(os.path.join(train_dir, "train_results.json"))
  results = utils.read_json(os.path.join(train_dir, "eval/eval_results.json"))
  return {
    **results,
    "level": name,
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
  metrics = {
    title: name
    for title, name in _METRICS.items()
    if any(name in row for row in rows)
  }
  titles = "".join(f"{title:>8}" for title in metrics)
  table = [f"\n{'level':8}{titles}{'examples/sec':>14}"]
  for row in rows:
    values = "".join(
      f"{row[name]:8.3f}" if name in row else f"{'':8}"
      for name in metrics.values()
    )
    table.append(f"{row['level']:8}{values}{row['examples_per_second']:14.0f}")
  table.append("\nModels and predictions:")
  table += [path for row in rows for path in row["files"]]
  return "\n".join(table) + "\n"


if __name__ == "__main__":
  run()
