# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""How well the models do on real shards: makes docs/models.csv.

  python -m benchmarks.quality --video='/path/to/yt8m/2/video' \
    --audioset=/path/to/audioset --output_dir=/tmp/quality

Trains each recipe from three seeds with train.py, evaluates it with eval.py,
and averages the logits of several models. A train dir with results is used
again; rows of recipes that are not asked for stay in the CSV.
"""

import argparse
import csv
import json
import os
import re
import shlex
import statistics
import sys
from collections.abc import Container, Sequence
from typing import NamedTuple

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import config
import train_dir as train_dirs
from benchmarks import measurements, processes

PAGE_CSV = os.path.join(measurements.ROOT, "docs", "models.csv")

_MODELS = "/tmp/models"  # noqa: S108 The folder in the page's commands.
_SEEDS = (1, 2, 3)
_PARAMETERS = re.compile(r"Model: \w+, ([\d,]+) parameters")
_METRICS = ("gap", "map", "hit_at_one", "perr")
COLUMNS = (
  *("data", "recipe", "parameters", "epochs", "seconds"),
  *("examples_per_second", "gap", "gap_range", "map", "map_range"),
  *("num_classes", "hit_at_one", "perr", "flags"),
)


class Data(NamedTuple):
  """A data set: its folder on the page, patterns in it, and flags of runs."""

  folder: str
  train: str
  evaluation: str
  flags: str


DATA = {
  "video": Data(
    "/path/to/yt8m/2/video",
    "train/train*.tfrecord",
    "validate/validate*.tfrecord",
    "",
  ),
  "audioset": Data(
    "/path/to/audioset",
    "bal_train/bal_train*.tfrecord",
    "eval/eval*.tfrecord",
    " --num_classes=527",
  ),
}


class Recipe(NamedTuple):
  """A row of the table.

  Attributes:
    data: the data set's name.
    name: the row's.
    flags: what train.py is given beside data, folder and seed.
    members: names of the recipes whose logits are averaged instead.
  """

  data: str
  name: str
  flags: str = ""
  members: tuple[str, ...] = ()

  @property
  def description(self) -> str:
    """What the CSV has as flags."""
    return self.flags or f"average of {', '.join(self.members)}"


# What small data sets need: decayed weights, and a learning rate that falls to
# 0 with the last of the epochs, which have 11,790 videos, or 22,160 clips.
_COMMON = (
  "--base_learning_rate=0.001 --optimizer=AdamW "
  "--learning_rate_schedule=cosine --batch_size=512"
)
_VIDEO = (
  f"{_COMMON} --weight_decay=0.02 --mixed_precision --num_epochs=12 "
  "--learning_rate_decay_examples=141480"
)
# Smoothed labels keep a mixture from learning the training set by heart.
_MOE = (
  "--label_smoothing=0.01 --base_learning_rate=0.06 "
  "--learning_rate_schedule=cosine --learning_rate_decay_examples=58950 "
  "--batch_size=256 --num_epochs=5 --mixed_precision"
)
_RESIDUAL = '"dropout": 0.5, "video_level_classifier_model": "LogisticModel"'
_CLIPS = (
  f"{_COMMON} --weight_decay=0.3 --num_epochs=8 "
  "--learning_rate_decay_examples=177280"
)
_CLIP_BRANCHES = (
  "--video_level_classifier_model=BranchesModel "
  f"--classifier_kwargs='{{\"classifier_kwargs\": {{{_RESIDUAL}}}}}' {_CLIPS}"
)

RECIPES = (
  Recipe(
    "video",
    "logistic",
    "--batch_size=32 --num_epochs=6 --base_learning_rate=0.02 "
    "--learning_rate_decay=0.6 --learning_rate_decay_examples=11790",
  ),
  Recipe("video", "moe", f"--model=MoeModel {_MOE}"),
  Recipe(
    "video", "moe_of_four", f"--model=MoeModel --moe_num_mixtures=4 {_MOE}"
  ),
  Recipe(
    "video", "moe_of_six", f"--model=MoeModel --moe_num_mixtures=6 {_MOE}"
  ),
  Recipe(
    "video",
    "residual",
    "--model=ResidualMlpModel --dropout=0.5 "
    f"--video_level_classifier_model=LogisticModel {_VIDEO}",
  ),
  Recipe("video", "gated_moe", f"--model=GatedMoeModel {_MOE}"),
  Recipe(
    "video",
    "branches",
    f"--model=BranchesModel --classifier_kwargs='{{{_RESIDUAL}}}' {_VIDEO}",
  ),
  Recipe(
    "video",
    "average",
    members=("moe", "moe_of_four", "moe_of_six", "gated_moe", "branches"),
  ),
  Recipe(
    "audioset",
    "clip_logistic",
    "--model=FrameLevelLogisticModel --batch_size=256 --num_epochs=20",
  ),
  Recipe(
    "audioset",
    "clip_moe",
    "--model=FrameMeanModel --video_level_classifier_model=MoeModel "
    "--classifier_kwargs='{\"moe_num_mixtures\": 4}' --label_smoothing=0.01 "
    "--base_learning_rate=0.06 --learning_rate_schedule=cosine "
    "--learning_rate_decay_examples=177280 --batch_size=256 --num_epochs=8 "
    "--mixed_precision",
  ),
  Recipe(
    "audioset",
    "clip_residual",
    "--model=FrameMeanModel --attention_heads=1 "
    "--video_level_classifier_model=ResidualMlpModel "
    f"--classifier_kwargs='{{{_RESIDUAL}}}' {_CLIPS}",
  ),
  Recipe(
    "audioset", "clip_branches", f"--model=FrameMeanModel {_CLIP_BRANCHES}"
  ),
  *(
    Recipe(
      "audioset",
      name,
      f"--model=FrameMeanModel --attention_heads={heads} {_CLIP_BRANCHES}",
    )
    for name, heads in (
      ("clip_attention", 1),
      ("clip_attention_of_two", 2),
    )
  ),
  Recipe(
    "audioset",
    "clip_average",
    members=("clip_residual", "clip_attention", "clip_attention_of_two"),
  ),
)


class Runner:
  """Trains and evaluates recipes in a folder.

  Args:
    folder: for the models.
    data_folders: the folder of each data set.
  """

  def __init__(self, folder: str, data_folders: dict[str, str]):
    self._folder = folder
    self._data_folders = data_folders

  def row(self, recipe: Recipe) -> dict[str, str]:
    """A row of the table: means over the seeds, and their range."""
    run = self._average if recipe.members else self._train
    runs = [run(recipe, seed) for seed in _SEEDS]
    first = runs[0]
    row = {
      "data": recipe.data,
      "recipe": recipe.name,
      "num_classes": first["num_classes_with_labels"],
      "flags": recipe.description,
    }
    for name in ("parameters", "epochs"):
      row[name] = first.get(name, "")
    for name in ("seconds", "examples_per_second"):
      if name in first:
        row[name] = round(statistics.median(run[name] for run in runs))
    for name in _METRICS:
      values = [run[name] for run in runs]
      row[name] = f"{statistics.mean(values):.4f}"
      row[f"{name}_range"] = f"{min(values):.4f} to {max(values):.4f}"
    return {name: str(row.get(name, "")) for name in COLUMNS}

  def _train(self, recipe: Recipe, seed: int) -> dict[str, float]:
    """Figures of one run of train.py and eval.py."""
    train_dir = self._train_dir(recipe.name, seed)
    path = os.path.join(train_dir, "quality.json")
    if not os.path.exists(path):
      figures = self._run_programs(recipe, seed, train_dir)
      with open(path, "w") as file:
        json.dump(figures, file)
    with open(path) as file:
      return json.load(file)

  def _run_programs(self, recipe: Recipe, seed: int, train_dir: str):
    data = DATA[recipe.data]
    trained = self._python(
      "train.py",
      f"--train_data_pattern={self._pattern(recipe.data, data.train)}",
      f"--train_dir={train_dir}",
      f"--seed={seed}",
      "--start_new_model",
      *shlex.split(recipe.flags + data.flags),
    )
    self._python(
      "eval.py",
      f"--eval_data_pattern={self._pattern(recipe.data, data.evaluation)}",
      f"--train_dir={train_dir}",
      "--run_once",
    )
    log = "\n".join(line for _, line in trained.lines)
    results = {}
    for name in ("train_results.json", "eval/eval_results.json"):
      with open(os.path.join(train_dir, name)) as file:
        results |= json.load(file)
    return {
      **results,
      "parameters": _PARAMETERS.search(log)[1],
      "epochs": config.ExperimentConfig.load(train_dir).num_epochs,
      "seconds": trained.seconds,
    }

  def _python(self, *arguments: str) -> processes.Finished:
    sys.stderr.write(f"python {' '.join(arguments)}\n")
    return processes.run([sys.executable, *arguments], measurements.ROOT)

  def _average(self, recipe: Recipe, seed: int) -> dict[str, float]:
    """Metrics of the mean of the members' logits."""
    recipes = {other.name: other for other in RECIPES}
    pattern = self._pattern(recipe.data, DATA[recipe.data].evaluation)
    files = []
    for name in recipe.members:
      self._train(recipes[name], seed)
      train_dir = self._train_dir(name, seed)
      files.append(f"{train_dir}/predictions.npz")
      if not os.path.exists(files[-1]):
        self._python(
          "inference.py",
          f"--input_data_pattern={pattern}",
          f"--train_dir={train_dir}",
          f"--predictions_file={files[-1]}",
        )
    folder = self._train_dir(recipe.name, seed)
    os.makedirs(folder, exist_ok=True)
    mean = os.path.join(folder, "mean.npz")
    self._python(
      "ensemble.py",
      f"--predictions={','.join(files)}",
      f"--predictions_file={mean}",
    )
    self._python(
      "eval.py",
      f"--predictions={mean}",
      f"--eval_data_pattern={pattern}",
      f"--eval_dir={folder}",
    )
    path = os.path.join(folder, train_dirs.PREDICTIONS_RESULTS_FILE)
    with open(path) as file:
      return json.load(file)

  def _train_dir(self, name: str, seed: int) -> str:
    return os.path.join(self._folder, f"{name}_{seed}")

  def _pattern(self, data: str, pattern: str) -> str:
    return os.path.join(self._data_folders[data], pattern)


def read_table(path: str = PAGE_CSV) -> list[dict[str, str]]:
  """The rows of the CSV; none where it is not there."""
  if not os.path.exists(path):
    return []
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def write_table(rows: Sequence[dict[str, str]], path: str = PAGE_CSV):
  """Writes the rows in the order of the recipes."""
  order = [(recipe.data, recipe.name) for recipe in RECIPES]
  known = [row for row in rows if (row["data"], row["recipe"]) in order]
  known.sort(key=lambda row: order.index((row["data"], row["recipe"])))
  with open(path, "w", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(known)


def format_table(data: str, rows: Sequence[dict[str, str]]) -> str:
  """The rows of a data set as docs/models.md has them."""
  lines = [
    "| recipe | parameters | epochs | seconds | examples/s | GAP | mAP "
    "| Hit@1 | PERR |",
    f"|{' --- |' * 9}",
  ]
  for row in rows:
    if row["data"] == data:
      cells = [
        f"`{row['recipe']}`",
        *(row[name] for name in ("parameters", "epochs", "seconds")),
        row["examples_per_second"],
        *(f"{row[name]} ({row[f'{name}_range']})" for name in ("gap", "map")),
        *(row[name] for name in ("hit_at_one", "perr")),
      ]
      lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def format_commands(data: str, names: Container[str]) -> str:
  """The commands of a data set's recipes, as docs/models.md has them."""
  folder, train, evaluation, flags = DATA[data]
  commands = []
  for recipe in RECIPES:
    if recipe.data != data or recipe.name not in names:
      continue
    place = f"{_MODELS}/{recipe.name}"
    if recipe.flags:
      commands.append(
        f"train.py --train_data_pattern='{folder}/{train}' "
        f"--train_dir={place}{flags} {recipe.flags}"
      )
      continue
    pattern = f"'{folder}/{evaluation}'"
    files = [f"{_MODELS}/{name}.npz" for name in recipe.members]
    commands += [
      f"inference.py --input_data_pattern={pattern} "
      f"--train_dir={file.removesuffix('.npz')} --predictions_file={file}"
      for file in files
    ]
    commands += [
      f"ensemble.py --predictions={','.join(files)} "
      f"--predictions_file={place}.npz",
      f"eval.py --predictions={place}.npz --eval_data_pattern={pattern}",
    ]
  return "".join(f"python {command}\n" for command in commands)


def main(argv: Sequence[str] | None = None):
  """Measures what is asked for, and brings the CSV up to date."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--video", help="folder with train/ and validate/")
  parser.add_argument("--audioset", help="folder with bal_train/ and eval/")
  parser.add_argument("--output_dir", required=True, help="for the models")
  parser.add_argument("--recipes", help="names, separated by commas")
  parser.add_argument("--csv", default=PAGE_CSV)
  options = parser.parse_args(argv)
  asked = options.recipes.split(",") if options.recipes else None
  folders = {name: getattr(options, name) for name in DATA}
  runner = Runner(options.output_dir, folders)
  for recipe in RECIPES:
    if folders[recipe.data] and (asked is None or recipe.name in asked):
      row = runner.row(recipe)
      rows = [
        other
        for other in read_table(options.csv)
        if (other["data"], other["recipe"]) != (recipe.data, recipe.name)
      ]
      write_table([*rows, row], options.csv)
  for name in DATA:
    print(format_table(name, read_table(options.csv)))


if __name__ == "__main__":
  main()
