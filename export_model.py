# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Exports a trained model, for TensorFlow Serving, MediaPipe and Python.

  python export_model.py --train_dir=/path/to/model \
    --export_dir=/path/to/exported_model

The folder is a SavedModel, for which TensorFlow alone is enough. docs/export.md
says what goes in and what comes out.
"""

import program  # Sets up the environment; before TensorFlow and Keras.

import config
import devices
import exporting
from config import ExportSettings


def define_flags():
  """Defines the flags of the export."""
  config.define_flags(ExportSettings)


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main():
  """Exports as the flags say."""
  devices.choose(num_gpu=0)  # Nothing is computed.
  exporting.export(config.from_flags(ExportSettings))


if __name__ == "__main__":
  run()
