# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of embeddings: what goes into the classifier, for each video."""

import runpy

import program  # noqa: F401 Before TensorFlow.
from program import UserError

import numpy as np
import pytest
from pages import DOCS, blocks
from test_export import write_model

import checkpoints
import cluster
import evaluation
import experiment
import inference
import models
import prediction_files
import readers
import train
from config import (
  EvalSettings,
  ExperimentConfig,
  InferenceSettings,
  TrainSettings,
)
from records import VECTOR, Form

SIZE = 24  # Of rgb and audio.


@pytest.fixture(scope="module")
def train_dir(frame_shards, tmp_path_factory):
  """A frame-level model of random weights."""
  folder = tmp_path_factory.mktemp("models") / "model"
  write_model(make_config(frame_shards), folder)
  return folder


def make_config(shards, **changes) -> ExperimentConfig:
  return ExperimentConfig(
    **{
      "model": "FrameLevelLogisticModel",
      "num_classes": shards.num_classes,
      "feature_names": tuple(shards.feature_sizes),
      "feature_sizes": tuple(shards.feature_sizes.values()),
      "frame_features": True,
      "max_frames": 12,
      **changes,
    }
  )


def infer(train_dir, pattern: str, path, **settings):
  inference.infer(
    InferenceSettings(
      train_dir=str(train_dir),
      input_data_pattern=pattern,
      embeddings_file=str(path),
      batch_size=16,
      **settings,
    )
  )


@pytest.fixture(scope="module")
def known(train_dir, frame_shards):
  """What the model says of the videos, by id: labels and embedding."""
  config = ExperimentConfig.load(str(train_dir))
  model = experiment.build_model(config)
  checkpoints.restore_latest_model(model, str(train_dir))
  settings = EvalSettings(eval_data_pattern=frame_shards.validate)
  batches = experiment.open_batches(
    config,
    experiment.Run(settings, cluster.alone(), None),
    "eval_data_pattern",
    64,
  )
  predictor = evaluation.Predictor(model, outputs=["embedding"])
  (item,) = predictor.predictions(batches)
  rows = zip(item.labels, item.outputs["embedding"], strict=True)
  return dict(zip(item.video_ids.tolist(), rows, strict=True))


def test_arrays(train_dir, frame_shards, known, tmp_path):
  infer(
    train_dir,
    frame_shards.validate,
    tmp_path / "embeddings.npz",
    output_file=str(tmp_path / "predictions.csv"),
  )
  with np.load(tmp_path / "embeddings.npz") as file:
    ids, embeddings = file["ids"].tolist(), file["embeddings"]
  assert sorted(ids) == sorted(known)
  assert (embeddings.dtype, embeddings.shape) == (np.float32, (61, SIZE))
  expected = [known[video_id][1] for video_id in ids]
  np.testing.assert_allclose(embeddings, expected, atol=1e-6)
  # Files that are asked for together are of one pass.
  lines = (tmp_path / "predictions.csv").read_bytes().splitlines()[1:]
  assert [line.partition(b",")[0] for line in lines] == ids


def test_records_are_read_again(train_dir, frame_shards, known, tmp_path):
  path = tmp_path / "embeddings.tfrecord"
  infer(train_dir, frame_shards.validate, path)
  schema = readers.detect_schema([str(path)])
  assert schema.forms == {"embedding": Form(VECTOR, SIZE)}
  reader = readers.YT8MAggregatedFeatureReader(
    num_classes=frame_shards.num_classes,
    feature_names=("embedding",),
    feature_sizes=(SIZE,),
  )
  (batch,) = reader.evaluation_batches([str(path)], 61)
  labels, embeddings = batch["labels"], batch["features"]["embedding"]
  for number, video_id in enumerate(batch["video_ids"].numpy()):
    expected_labels, expected = known.pop(video_id)
    np.testing.assert_array_equal(labels[number], expected_labels)
    np.testing.assert_allclose(embeddings[number], expected, atol=1e-6)
  assert not known
  settings = TrainSettings(
    train_data_pattern=str(path), train_dir=str(tmp_path / "head")
  )
  given = {"num_classes": frame_shards.num_classes, "max_steps": 1}
  assert train.train(given, settings) == 0


def test_a_video_without_labels_among_others(tmp_path):
  item = evaluation.Predictions(
    video_ids=[b"a", b"b"],
    predictions=np.zeros([2, 3]),
    labels=np.array([[0, 0, 0], [0, 1, 0]]),
    losses=None,
    num_frames=None,
    outputs={"embedding": np.ones([2, 4], np.float32)},
  )
  path = tmp_path / "a.tfrecord"
  output = prediction_files.embeddings_output(str(path), has_labels=True)
  with output.open() as write:
    write(item.video_ids, output.encode(item))
  reader = readers.YT8MAggregatedFeatureReader(3, (4,), ("embedding",), 1)
  (batch,) = reader.evaluation_batches([str(path)], 2)
  np.testing.assert_array_equal(batch["labels"], item.labels)


def test_shards_without_labels_give_records_without(
  train_dir, frame_shards, tmp_path
):
  path = tmp_path / "embeddings.tfrecord"
  infer(train_dir, frame_shards.test, path)
  schema = readers.detect_schema([str(path)])
  assert {*schema.keys} == {"embedding", "id"}
  assert not schema.has_labels


def test_a_model_without_embedding_is_named(
  frame_shards, tmp_path, monkeypatch
):
  class PlainModel(models.FrameLevelLogisticModel):
    """Returns no embedding."""

    def create_model(self, model_input, vocab_size, num_frames):
      outputs = super().create_model(model_input, vocab_size, num_frames)
      return {"predictions": outputs["predictions"]}

  monkeypatch.setattr(models, "PlainModel", PlainModel, raising=False)
  config = make_config(frame_shards, model="PlainModel")
  write_model(config, tmp_path / "model")
  path = tmp_path / "embeddings.npz"
  with pytest.raises(UserError, match="PlainModel does not return 'embedding'"):
    infer(tmp_path / "model", frame_shards.test, path)
  assert not path.exists()


def test_the_page(train_dir, frame_shards, tmp_path, monkeypatch):
  infer(train_dir, frame_shards.validate, tmp_path / "embeddings.npz")
  (script,) = [
    block
    for block in blocks(DOCS / "export.md", "python")
    if "embeddings.npz" in block
  ]
  (tmp_path / "script.py").write_text(script)
  monkeypatch.chdir(tmp_path)
  values = runpy.run_path("script.py")
  # By its definition: the video whose vector has the largest cosine.
  vectors = np.load("embeddings.npz")["embeddings"]
  cosines = [
    vector @ vectors[0] / np.linalg.norm(vector) / np.linalg.norm(vectors[0])
    for vector in vectors
  ]
  best = np.argsort(cosines)[::-1][1:4]
  assert [*values["nearest"]] == [*values["ids"][best]]
  assert values["scores"].shape == (61,)
  mine = np.isin(values["ids"], [*values["mine"]])
  targets = [values["mine"][video_id] for video_id in values["ids"][mine]]
  scores = values["scores"][mine]
  assert scores[np.equal(targets, 1)].min() > scores[np.equal(targets, 0)].max()
