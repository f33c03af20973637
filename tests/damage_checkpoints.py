# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Restores damaged checkpoints; a program, as one may end the process.

  python damage_checkpoints.py CHECKOUT FOLDER FIRST LAST

It writes a checkpoint of step 1 and one of step 2, and then damages the latter
in the ways FIRST to LAST - 1. Each is restored as eval.py or as train.py does.
A line on stdout says what is tried, and the next one what came of it: "right"
(all that was saved, of step 2), "older" (of step 1), or what is wrong.
"""

import os
import pathlib
import random
import sys

sys.path.insert(0, sys.argv[1])
import program  # noqa: F401 Sets up the environment.

import keras
import numpy as np
from absl import logging

import checkpoints

INDEX, DATA = ".index", ".data-00000-of-00001"


class Run:
  """What a checkpoint holds of a run."""

  def __init__(self, folder):
    inputs = keras.Input((2,))
    self.model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    self.optimizer = keras.optimizers.Adam()
    self.optimizer.build(self.model.trainable_variables)
    self.position = checkpoints.Position()
    self.saver = checkpoints.Saver(
      *(folder, self.model, 5),
      position=self.position,
      optimizer=self.optimizer,
    )
    self.variables = [
      *(*self.model.variables, *self.optimizer.variables),
      *self.position.counters,
    ]

  def fill(self, value):
    """Gives each number a value of its own."""
    for number, variable in enumerate(self.variables):
      numbers = np.arange(np.prod(variable.shape)).reshape(variable.shape)
      variable.assign(
        (numbers + 10 * number + value).astype(np.array(variable).dtype)
      )

  def values(self):
    return [np.array(variable) for variable in self.variables]


def damage(number, files, older):
  """Damages the files of a checkpoint.

  Args:
    number: of the way; the same number damages in the same way.
    files: name's end -> content, which is changed.
    older: as `files`, of an older checkpoint.

  Returns:
    What was done.
  """
  rng = random.Random(number)  # noqa: S311
  end = INDEX if rng.random() < 0.7 else DATA
  content = bytearray(files[end])
  kind = number % 12
  start = rng.randrange(len(content))
  if kind == 11:  # The footer, which has no checksum.
    end, content = INDEX, bytearray(files[INDEX])
    start = len(content) - 48 + rng.randrange(24)
  stop = min(len(content), start + rng.choice([1, 2, 4, 9, 70, 600]))
  if kind <= 3:
    kind, start = "bit flipped", (number * 37) % len(content)
    content[start] ^= 1 << rng.randrange(8)
  elif kind == 4:
    files.clear()
    files.update(older, **{end: bytes(content)})
    return f"other file of an older checkpoint than {end}"
  elif kind == 5:
    kind = "cut"
    del content[start:]
  else:
    kind, new = {
      6: ("zeros", bytes(stop - start)),
      7: ("ones", b"\xff" * (stop - start)),
      8: ("removed", b""),
      9: ("repeated", bytes(content[start:stop]) * 2),
      10: ("random", rng.randbytes(stop - start)),
      11: ("random footer", rng.randbytes(stop - start)),
    }[kind]
    content[start:stop] = new
  files[end] = bytes(content)
  return f"{end}: {kind} from {start} to {stop}"


def outcome(run, path, is_trainer, expected) -> str:
  """Restores as train.py or eval.py does, and compares."""
  run.fill(-500)
  if is_trainer:
    step = checkpoints.step_of(run.saver.restore_latest())
    num_values = len(run.variables)
  else:
    step = checkpoints.restore_latest_model(run.model, str(path))
    num_values = len(run.model.variables)
  pairs = list(zip(run.values(), expected[step], strict=True))
  if not all(np.array_equal(*pair) for pair in pairs[:num_values]):
    return f"WRONG values of step {step}"
  return {1: "older", 2: "right"}[step]


def main(folder, first, last):
  """Tries the ways of a range."""
  logging.set_verbosity(logging.FATAL)
  run = Run(folder)
  path, expected, files = pathlib.Path(folder), {}, {}
  for step in (1, 2):
    run.fill(step)
    expected[step] = run.values()
    run.saver.save(step)
    files[step] = {
      end: (path / f"model.ckpt-{step}{end}").read_bytes()
      for end in (INDEX, DATA)
    }
  for number in range(first, last):
    damaged = dict(files[2])
    print(number, damage(number, damaged, files[1]), flush=True)
    for end, content in damaged.items():
      (path / f"model.ckpt-2{end}").write_bytes(content)
    is_trainer = number // 12 % 2 == 0  # There are 12 kinds of damage.
    print("  ", outcome(run, path, is_trainer, expected), flush=True)


if __name__ == "__main__":
  os.makedirs(sys.argv[2], exist_ok=True)
  main(sys.argv[2], *map(int, sys.argv[3:]))
