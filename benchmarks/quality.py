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
import contextlib
import csv
import json
import os
import re
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import numpy as np

import checkpoints
import cluster
import config
import eval_util
import evaluation
import experiment
from benchmarks import measurements, processes

PAGE_CSV = os.path.join(measurements.ROOT, "docs", "models.csv")

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


RECIPES = (
  Recipe(
    "video",
    "logistic",
    "--batch_size=256 --num_epochs=3 --base_learning_rate=0.06",
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
      "flags": recipe.flags or f"average of {', '.join(recipe.members)}",
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
    members = {other.name: other for other in RECIPES}
    for name in recipe.members:
      self._train(members[name], seed)
    pattern = self._pattern(recipe.data, DATA[recipe.data].evaluation)
    metrics = None
    with contextlib.ExitStack() as stack:
      streams = [
        stack.enter_context(predictions(self._train_dir(name, seed), pattern))
        for name in recipe.members
      ]
      for items in zip(*streams, strict=True):
        labels = items[0].labels
        metrics = metrics or eval_util.EvaluationMetrics(labels.shape[1])
        mean = np.mean([log_odds(item.predictions) for item in items], axis=0)
        metrics.accumulate(mean, labels, np.zeros(len(labels)))
    values = metrics.get()
    return {
      "gap": values["gap"],
      "map": float(np.mean(values["aps"])),
      "hit_at_one": values["avg_hit_at_one"],
      "perr": values["avg_perr"],
      "num_classes_with_labels": len(values["aps"]),
    }

  def _train_dir(self, name: str, seed: int) -> str:
    return os.path.join(self._folder, f"{name}_{seed}")

  def _pattern(self, data: str, pattern: str) -> str:
    return os.path.join(self._data_folders[data], pattern)


@contextlib.contextmanager
def predictions(
  train_dir: str, pattern: str
) -> Iterator[Iterator[evaluation.Predictions]]:
  """Context with what the model of a train dir says of shards."""
  settings = config.EvalSettings(train_dir=train_dir, eval_data_pattern=pattern)
  workers = cluster.alone()
  with experiment.start(settings, {}, workers, None) as run:
    run_config = experiment.load_config(train_dir, {}, workers)
    model = experiment.build_model(run_config)
    checkpoints.restore_chosen_model(model, train_dir, None, settings.use_ema)
    batches = experiment.open_batches(
      run_config, run, "eval_data_pattern", settings.batch_size
    )
    yield evaluation.Predictor(model).predictions(batches)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
  """Logits of probabilities, which are kept away from 0 and 1."""
  clipped = np.clip(probabilities, 1e-7, 1.0 - 1e-7)
  return np.log(clipped) - np.log1p(-clipped)


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


def format_commands(data: str) -> str:
  """The commands of a data set's recipes, as docs/models.md has them."""
  folder, train, _, flags = DATA[data]
  return "".join(
    f"python train.py --train_data_pattern='{folder}/{train}' "
    f"--train_dir=/tmp/models/{recipe.name}{flags} {recipe.flags}\n"
    for recipe in RECIPES
    if recipe.data == data and recipe.flags
  )


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
