# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Loads exported models as a stranger does, with TensorFlow alone.

Started with folders. Each has an exported model in `export`, records in
`videos.tfrecord`, and in `known.npz` the arrays of these videos and what the
suite's own model says of them. Prints, as JSON, by how much each signature
differs from that: folder -> what was asked -> the largest difference.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf


def main(folders):
  """Prints the differences."""
  results = {folder.name: differences(folder) for folder in folders}
  own = {"program", "utils", "experiment", "exporting"} & {*sys.modules}
  assert not own, own
  print(json.dumps(results))


def differences(folder: pathlib.Path) -> dict[str, float]:
  """What was asked -> the largest difference."""
  model = tf.saved_model.load(str(folder / "export"))
  signatures = dict(model.signatures)
  found, known = {}, dict(np.load(folder / "known.npz"))
  ids, expected, embedding, num_frames = (
    known.pop(name) for name in ("ids", "predictions", "embedding", "counts")
  )
  arrays = {**known, "num_frames": num_frames}
  rows = np.arange(len(ids))

  records = np.array(read_records(folder), object)
  for name, groups in {"": [rows], " alone": rows[:, None]}.items():
    classified = [classify(signatures, records[group]) for group in groups]
    assert np.concatenate([ids_ for ids_, _ in classified]).tolist() == [*ids]
    scores = np.concatenate([scores for _, scores in classified])
    found[f"records{name}"] = largest(scores - expected)
    outputs = [predict(signatures, arrays, group) for group in groups]
    for kind, values in ("predictions", expected), ("embedding", embedding):
      got = np.concatenate([output[kind] for output in outputs])
      found[f"{kind}{name}"] = largest(got - values)

  has_frames = max(array.ndim for array in known.values()) == 3
  for length in (0, 1, 5, 300) if has_frames else ():
    rows = np.flatnonzero(num_frames <= length)
    cut = {
      name: array[:, :length] if array.ndim == 3 else array
      for name, array in arrays.items()
    }
    scores = predict(signatures, cut, rows)["predictions"]
    found[f"{length} frames"] = largest(scores - expected[rows])
  if "mediapipe" in signatures:
    for length in (1, 5, 300):
      found |= compare_counts(signatures, known, length)
  return found


def compare_counts(signatures, features, length: int) -> dict[str, float]:
  """The forms of MediaPipe's number of frames, against raw arrays."""
  cut = {name: array[:, :length] for name, array in features.items()}
  rows = np.arange(len(next(iter(cut.values()))))
  counts = np.full(rows.shape, length, np.int32)
  expected = predict(signatures, {**cut, "num_frames": counts}, rows)
  numbers = np.concatenate(
    [
      frames * (4 / 255) + (4 / 512 - 2) if frames.dtype == np.uint8 else frames
      for frames in cut.values()
    ],
    axis=-1,
  ).astype(np.float32)
  forms = {"[B]": counts, "[B, 1]": counts[:, None], "[1, 1]": [[length]]}
  return {
    f"num_frames {form}, {length} frames": largest(
      signatures["mediapipe"](
        rgb_and_audio=tf.constant(numbers),
        num_frames=tf.constant(count, tf.int32),
      )["predictions"].numpy()
      - expected["predictions"]
    )
    for form, count in forms.items()
  }


def read_records(folder):
  """The serialized records."""
  path = str(folder / "videos.tfrecord")
  return [*tf.data.TFRecordDataset(path).as_numpy_iterator()]


def classify(signatures, records):
  """The ids, and the scores in the order of the classes."""
  outputs = signatures["serving_default"](example_bytes=tf.constant(records))
  scores = np.zeros(outputs["predictions"].shape, np.float32)
  classes = outputs["class_indexes"].numpy()
  assert classes.dtype == np.int32
  assert (np.diff(outputs["predictions"]) <= 0).all()
  np.put_along_axis(scores, classes, outputs["predictions"].numpy(), axis=1)
  return outputs["video_id"].numpy(), scores


def predict(signatures, arrays, rows):
  """What the signature `predict` says of some rows."""
  function = signatures["predict"]
  _, specs = function.structured_input_signature
  inputs = {key: tf.constant(arrays[key][rows]) for key in specs}
  return {name: value.numpy() for name, value in function(**inputs).items()}


def largest(difference) -> float:
  """The largest number, whatever its sign."""
  return float(np.abs(difference).max())


if __name__ == "__main__":
  main([pathlib.Path(name) for name in sys.argv[1:]])
