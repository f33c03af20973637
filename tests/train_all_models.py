# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""One of two workers that train every model for some steps, one after another.

  TF_CONFIG=... python train_all_models.py FOLDER

The chief writes the losses and weights of each model to FOLDER/MODEL.npz.
"""

import sys

import program  # noqa: F401 Before TensorFlow.

import numpy as np
import tensorflow as tf
from test_all_models import ALL, make_batch, make_config

import cluster
import train

NUM_STEPS, NUM_VIDEOS = 3, 8
# The rows of the first worker and of the second, which is given more padding.
PARTS = (slice(0, 5), slice(5, 10))


def run_steps(name: str, workers: cluster.Workers, part: slice) -> dict:
  """Losses of a model's first steps, and the weights after them.

  Without dropout, whose numbers differ from worker to worker; with an optimizer
  that does not divide by a gradient, which may be nearly zero.
  """
  kwargs = {**make_config(name).model_kwargs}
  if name == "ResidualMlpModel":
    kwargs["dropout"] = 0.0
  if name == "BranchesModel":
    kwargs["classifier_kwargs"] = {"hidden_size": 8, "dropout": 0.0}
  config = make_config(name, optimizer="SGD", model_kwargs=kwargs)
  state = train.build_train_state(config, workers, jit_compile=False)
  workers.copy_from_chief(state.variables)
  step = train.make_train_step(config, state, workers, jit_compile=False)
  batch = make_batch(name, NUM_VIDEOS, PARTS[-1].stop - NUM_VIDEOS)
  batch = tf.nest.map_structure(lambda rows: rows[part], batch)
  losses = [
    float(step(batch, np.zeros(2, np.float32)).losses["loss"])
    for _ in range(NUM_STEPS)
  ]
  weights = {
    f"weight_{number}": value
    for number, value in enumerate(state.model.get_weights())
  }
  return {"losses": losses, **weights}


def main():
  """Trains them all."""
  with cluster.join(cluster.read_task(), 60) as workers:
    for name in ALL:
      results = run_steps(name, workers, PARTS[workers.index])
      if workers.is_chief:
        np.savez(f"{sys.argv[1]}/{name}.npz", **results)


if __name__ == "__main__":
  main()
