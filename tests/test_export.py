# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Exported models give the scores of evaluation, without this suite."""

import base64
import json
import pathlib
import runpy
import shlex
import sys
import types

import program  # noqa: F401 Before TensorFlow.
from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from pages import DOCS, block_with, blocks
from test_all_models import ALL, FRAME_LEVEL, make_config

import checkpoints
import cluster
import evaluation
import experiment
import exporting
import models
import train
import utils
from config import (
  ExperimentConfig,
  ExportSettings,
  InferenceSettings,
  TrainSettings,
)
from model_layers import FrameMean, logistic_layer
from records import CODES, FLOATS, VECTOR

LENGTHS = (5, 0, 300, 1, 310)  # Of the last one, 300 frames count.
ID_KEYS = ("id", "video_id", "clip/data_path", "id", "id")
NAMES = ("RGB/feature/floats", "AUDIO/feature/floats")


class MixedModel(models.BaseModel):
  """A vector of the whole video beside frames."""

  frame_features = True
  takes_features = True

  def create_model(self, model_input, vocab_size, num_frames):
    mean = FrameMean()(model_input["rgb"], num_frames)
    joined = ops.concatenate([mean, model_input["mean_audio"]], axis=-1)
    return logistic_layer(joined, vocab_size)


def configs() -> dict[str, ExperimentConfig]:
  """A case's name -> what is exported in it."""
  found = {
    name: make_config(name, max_frames=300 if name in FRAME_LEVEL else 1)
    for name in ALL
  }
  found["floats"] = make_config(
    "FrameMeanModel",
    max_frames=300,
    feature_names=NAMES,
    feature_kinds=(FLOATS, FLOATS),
  )
  found["mixed"] = make_config(
    "FrameMeanModel",
    model="MixedModel",
    model_kwargs={},
    max_frames=300,
    feature_names=("rgb", "mean_audio"),
    feature_kinds=(CODES, VECTOR),
  )
  return found


def write_model(config: ExperimentConfig, folder: pathlib.Path):
  """A train dir with a model of random weights; returns the model."""
  rng = np.random.default_rng(7)
  model = experiment.build_model(config, jit_compile=False)
  for weight in model.weights:
    values = 0.5 * rng.normal(size=weight.shape)
    weight.assign(np.abs(values) if "variance" in weight.path else values)
  folder.mkdir(parents=True)
  checkpoints.Saver(str(folder), model, 1, config=config).save(1)
  return model


def record(config, number: int) -> bytes:
  """A serialized video without labels."""
  rng = np.random.default_rng(number)
  example = tf.train.SequenceExample()
  context = example.context.feature
  context[ID_KEYS[number]].bytes_list.value.append(b"video %d" % number)
  for name, form in config.forms.items():
    if form.kind == VECTOR:
      context[name].float_list.value.extend(rng.normal(size=form.size))
      continue
    frames = example.feature_lists.feature_list[name].feature
    for _ in range(LENGTHS[number]):
      if form.kind == CODES:
        frames.add().bytes_list.value.append(rng.bytes(form.size))
      else:
        frames.add().float_list.value.extend(rng.normal(size=form.size))
  if not config.frame_features:
    plain = tf.train.Example(features=example.context)
    return plain.SerializeToString()
  return example.SerializeToString()


def write_known(config, model, folder: pathlib.Path):
  """Records, and what eval.py's predictor says of them."""
  path = str(folder / "videos.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    for number in range(len(LENGTHS)):
      writer.write(record(config, number))
  settings = InferenceSettings(input_data_pattern=path, output_file="-")
  batches = experiment.open_batches(
    config,
    experiment.Run(settings, cluster.alone(), None),
    "input_data_pattern",
    len(LENGTHS),
    with_labels=False,
  )
  predictor = evaluation.Predictor(model, outputs=["embedding"])
  (item,), (batch,) = predictor.predictions(batches), batches
  np.savez(
    folder / "known.npz",
    ids=item.video_ids.astype(bytes),
    counts=item.num_frames,
    predictions=item.predictions,
    embedding=item.outputs["embedding"],
    **{
      name.replace("/", "_"): array for name, array in batch["features"].items()
    },
  )


def export(folder: pathlib.Path, **settings) -> pathlib.Path:
  """Exports FOLDER/train to FOLDER/export, which is returned."""
  exporting.export(
    ExportSettings(
      train_dir=str(folder / "train"),
      export_dir=str(folder / "export"),
      **settings,
    )
  )
  return folder / "export"


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> pathlib.Path:
  """A folder for each case, with a train dir, an export and what is known."""
  root = tmp_path_factory.mktemp("exports")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(models, "MixedModel", MixedModel, raising=False)
    for name, config in configs().items():
      model = write_model(config, root / name / "train")
      write_known(config, model, root / name)
      export(root / name)
  return root


@pytest.fixture(scope="module")
def differences(exports, run_command) -> dict[str, dict[str, float]]:
  """What a process that has TensorFlow only says of all of them."""
  script = pathlib.Path(__file__).with_name("load_exports.py")
  folders = sorted(exports.iterdir())
  result = run_command(sys.executable, script, *folders, cwd=exports)
  return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", configs())
def test_scores_are_those_of_evaluation(name, differences):
  found = differences[name]
  has_frames = configs()[name].frame_features
  assert len(found) == (6 if not has_frames else 10 if name == "mixed" else 19)
  assert {key: value for key, value in found.items() if not value < 1e-6} == {}


def test_weights_are_there_once(tmp_path):
  config = make_config(
    "LogisticModel", feature_sizes=(256, 128), num_classes=2000
  )
  write_model(config, tmp_path / "train")
  folder = export(tmp_path)
  size = sum(path.stat().st_size for path in folder.rglob("*"))
  assert 1 <= size / (4 * (385 * 2000)) <= 1.1


def test_averages_are_exported_unless_they_are_not_wanted(tmp_path):
  config = make_config("LogisticModel", ema_decay=0.5)
  model = experiment.build_model(config)
  averages = checkpoints.Averages(model)
  for average in averages.values:
    average.assign(tf.zeros_like(average))
  (tmp_path / "train").mkdir()
  checkpoints.Saver(
    str(tmp_path / "train"), model, 1, config=config, averages=averages
  ).save(1)
  videos = {"rgb": np.ones([1, 6]), "audio": np.ones([1, 4])}
  scores = exporting.load(str(export(tmp_path))).outputs(videos)["predictions"]
  assert scores.tolist() == [[0.5] * 5]  # Of weights that are all zeros.
  utils.delete(str(tmp_path / "export"))
  last = exporting.load(str(export(tmp_path, use_ema=False))).outputs(videos)
  assert (last["predictions"] != scores).all()


def test_no_operation_needs_a_gpu(exports, tmp_path, monkeypatch):
  # As on a machine with one, where Keras takes cuDNN's by default.
  rnn = sys.modules["keras.src.backend.tensorflow.rnn"]
  monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
  (tmp_path / "train").symlink_to(exports / "LstmModel/train")
  model = exporting.load(str(export(tmp_path)))
  graph = model.signatures["predict"].graph.as_graph_def()
  names = {node.op for f in graph.library.function for node in f.node_def}
  assert "While" in names
  assert not [name for name in names if "Cudnn" in name]


# Names


VOCABULARY = (
  "Index,KnowledgeGraphId,Name\n"
  "3,/m/3,Café\n0,/m/0,Game\n4,/m/4,\n1,/m/1,Video game\n"
)


@pytest.fixture(scope="module")
def named(exports, tmp_path_factory) -> pathlib.Path:
  """An exported model with names."""
  folder = tmp_path_factory.mktemp("named")
  (folder / "train").symlink_to(exports / "MoeModel/train")
  (folder / "names.csv").write_text(VOCABULARY)
  return export(folder, vocabulary_file=str(folder / "names.csv"), top_k=3)


def test_names_travel_along(named):
  assert (named / "vocabulary.csv").read_text() == VOCABULARY
  lines = (named / "label_map.txt").read_text().splitlines()
  assert lines == ["Game", "Video game", "???", "Café", "???"]


class TestInPython:
  VIDEOS = types.MappingProxyType(
    {"rgb": np.ones([2, 6]), "audio": np.ones([2, 4])}
  )

  def test_values_that_are_no_codes(self, named):
    videos = {**self.VIDEOS, "rgb": np.full([2, 6], 0.5)}
    model = exporting.load(str(named))
    model.outputs(videos)  # Of the video level, they are floats.
    codes = tf.TensorSpec([None, 2], tf.uint8)
    for wrong in ([[0.5, 1]], [[-1, 1]], [[256, 1]]):
      with pytest.raises(UserError, match="predict: rgb has values that are n"):
        exporting._tensor("rgb", wrong, codes)
    assert exporting._tensor("rgb", [[0.0, 255]], codes).numpy().max() == 255

  @pytest.mark.parametrize(
    ("change", "message"),
    [
      ({"rgb": np.ones([2, 4])}, r"rgb should be numbers of shape \(any, 6\)"),
      ({"rgb": np.ones([3, 6])}, "there should be as many of each: "),
      ({"rgb": [["a"] * 6] * 2}, "rgb should be numbers of shape"),
      ({"rgb": np.full([2, 6], np.nan)}, "rgb has a value that is not finite"),
    ],
  )
  def test_wrong_arrays(self, change, message, named):
    with pytest.raises(UserError, match=message):
      exporting.load(str(named)).predict({**self.VIDEOS, **change})

  def test_no_classes(self, named):
    with pytest.raises(UserError, match="top_k=0 should be at least 1"):
      exporting.load(str(named)).predict(self.VIDEOS, top_k=0)

  @pytest.mark.parametrize("has_pandas", [False, True])
  def test_predict_gives_a_table(self, has_pandas, named, monkeypatch):
    frame = types.SimpleNamespace(DataFrame=lambda columns: ("frame", columns))
    monkeypatch.setitem(sys.modules, "pandas", frame if has_pandas else None)
    model = exporting.load(str(named))
    table = model.predict(self.VIDEOS, top_k=5)
    if has_pandas:
      kind, table = table
      assert kind == "frame"
    scores = model.outputs(self.VIDEOS)["predictions"]
    order = np.argsort(-scores[0]).tolist()
    names = ["Game", "Video game", "class 2", "Café", "/m/4"]
    assert table["Video"].tolist() == [0] * 5 + [1] * 5
    assert table["Index"].tolist() == 2 * order
    assert [*table["Name"]] == 2 * [names[index] for index in order]
    assert table["Confidence"].tolist() == scores[:, order].ravel().tolist()

  def test_serving_default_gives_the_top_k_that_was_asked_for(self, named):
    function = exporting.load(str(named)).signatures["serving_default"]
    outputs = function(
      example_bytes=tf.constant([record(make_config("MoeModel"), 0)])
    )
    assert outputs["class_indexes"].shape == [1, 3]

  def test_what_is_missing_is_named(self, named):
    with pytest.raises(UserError, match="audio missing; there is rgb"):
      exporting.load(str(named)).outputs({"rgb": np.ones([1, 6])})

  def test_no_model(self, tmp_path):
    with pytest.raises(UserError, match="is no exported model"):
      exporting.load(str(tmp_path))


def frames_record(**frames) -> bytes:
  """A video with these frames of each feature."""
  example = tf.train.SequenceExample()
  example.context.feature["id"].bytes_list.value.append(b"a")
  for name, strings in frames.items():
    features = example.feature_lists.feature_list[name].feature
    for string in strings:
      features.add().bytes_list.value.append(string)
  return example.SerializeToString()


@pytest.mark.parametrize(
  ("bad", "words"),
  [
    ({"rgb": [b"123456"] * 2, "audio": [b"1234"]}, "differ in number"),
    ({"rgb": [b"12345"], "audio": [b"1234"]}, "strings of 6 bytes"),
    ({"rgb": [b"1234567"], "audio": [b"1234"]}, "strings of 6 bytes"),
    ({"rgb": [b"123456"]}, "'audio' is required"),
  ],
)
def test_records_of_another_form_are_refused(bad, words, exports):
  model = exporting.load(str(exports / "FrameMeanModel/export"))
  good = frames_record(rgb=[b"123456"] * 2, audio=[b"1234"] * 2)
  with pytest.raises(tf.errors.InvalidArgumentError, match=words):
    model.signatures["serving_default"](
      example_bytes=tf.constant([good, frames_record(**bad)])
    )


# What is refused


def test_no_folder(exports):
  with pytest.raises(UserError, match="--export_dir is empty. Name a folder"):
    exporting.export(
      ExportSettings(train_dir=str(exports / "MoeModel/train"), export_dir="")
    )


def test_a_folder_that_is_not_empty(exports):
  with pytest.raises(UserError, match="--export_dir='.*' is not empty"):
    export(exports / "MoeModel")


def test_a_train_dir_without_a_model(tmp_path):
  with pytest.raises(UserError, match="no model was trained there"):
    export(tmp_path)
  assert not (tmp_path / "export").exists()


def test_nothing_half_written_stays(exports, tmp_path, monkeypatch):
  (tmp_path / "train").symlink_to(exports / "MoeModel/train")

  def fail(signatures, folder):
    tf.io.gfile.GFile(f"{folder}/part", "w").close()
    raise tf.errors.ResourceExhaustedError(None, None, "no space left")

  monkeypatch.setattr(exporting, "save", fail)
  with pytest.raises(UserError, match="export' cannot be written: no space"):
    export(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["train"]


# train.py


def test_the_best_model_is_exported_when_training_ends(video_shards, tmp_path):
  folder, names = tmp_path / "model", tmp_path / "names.csv"
  names.write_text(VOCABULARY)

  def run(**given):
    train.train(
      {"num_classes": 25, "batch_size": 32, "seed": 1, **given},
      TrainSettings(
        train_data_pattern=video_shards.train,
        eval_data_pattern=video_shards.validate,
        train_dir=str(folder),
        export_best=True,
        vocabulary_file=str(names),
      ),
    )
    best = experiment.build_model(ExperimentConfig.load(str(folder)))
    checkpoints.restore_chosen_model(best, str(folder), "best")
    exported = exporting.load(str(folder / "export"))
    videos = {"mean_rgb": np.ones([1, 16]), "mean_audio": np.ones([1, 8])}
    inputs = {"features": videos, "num_frames": np.ones(1, np.int32)}
    scores = exported.outputs(videos)["predictions"]
    np.testing.assert_allclose(scores, best(inputs)["predictions"], atol=1e-6)
    return scores

  first = run(max_steps=2)
  # Going on replaces what was exported.
  assert (run(max_steps=4) != first).any()
  assert [path.name for path in folder.glob("export*")] == ["export"]
  assert (folder / "export" / "vocabulary.csv").read_text() == VOCABULARY


def test_the_best_model_needs_videos_to_compare_on():
  with pytest.raises(UserError, match="--export_best needs --eval_data_patt"):
    TrainSettings(train_data_pattern="a", export_best=True)


def test_names_that_training_cannot_export_are_told_at_once(
  video_shards, tmp_path
):
  settings = {
    "train_data_pattern": video_shards.train,
    "train_dir": str(tmp_path / "model"),
    "vocabulary_file": str(tmp_path / "missing.csv"),
  }
  with pytest.raises(UserError, match="--export_best exports, which is not"):
    TrainSettings(**settings)
  settings |= {"eval_data_pattern": settings["train_data_pattern"]}
  with pytest.raises(UserError, match="missing.csv"):
    train.train({"max_steps": 1}, TrainSettings(**settings, export_best=True))
  names = tmp_path / "names.csv"
  names.write_text("Index,Name\n900,Far\n")
  settings["vocabulary_file"] = str(names)
  with pytest.raises(UserError, match="names none of the model's 25 classes"):
    train.train(
      {"max_steps": 1, "num_classes": 25},
      TrainSettings(**settings, export_best=True),
    )
  assert not (tmp_path / "model" / "model.ckpt-1.index").exists()


def test_what_is_no_export_is_not_replaced(video_shards, tmp_path):
  mine = tmp_path / "model" / "export" / "mine"
  mine.parent.mkdir(parents=True)
  mine.write_text("mine")
  settings = TrainSettings(
    train_data_pattern=video_shards.train,
    eval_data_pattern=video_shards.validate,
    train_dir=str(tmp_path / "model"),
    export_best=True,
  )
  with pytest.raises(UserError, match="--export_best would replace '.*export"):
    train.train({"max_steps": 1, "num_classes": 25}, settings)
  assert mine.read_text() == "mine"


# The page


PAGE = DOCS / "export.md"


def test_the_page(fork_program, run_command, tmp_path, monkeypatch):
  config = make_config(
    "LogisticModel",
    feature_names=("mean_rgb", "mean_audio"),
    feature_sizes=(1024, 128),
  )
  model = write_model(config, tmp_path / "model")
  (tmp_path / "vocabulary.csv").write_text(VOCABULARY)
  export_block, cli_block, _ = blocks(PAGE, "sh")
  command = export_block.replace("$MODEL_DIR", str(tmp_path))
  command = command.replace("/path/to", str(tmp_path))
  _, name, *flags = shlex.split(command)
  result = fork_program(name.removesuffix(".py"), *flags)
  assert f"Exported {tmp_path}/model/model.ckpt-1 to" in result.stderr

  monkeypatch.chdir(tmp_path)
  (tmp_path / "script.py").write_text(block_with("python", "exporting.load"))
  values = runpy.run_path(str(tmp_path / "script.py"))
  scores = values["model"].outputs(values["videos"])["predictions"]
  assert len(values["table"]["Name"]) == 6
  assert values["embeddings"].shape == (2, 1152)
  expected = model(
    {"features": values["videos"], "num_frames": np.ones(2, np.int32)}
  )["predictions"]
  np.testing.assert_allclose(scores, expected, atol=1e-6)

  # The last of the two commands: each costs seconds.
  program_name, *arguments = shlex.split(cli_block.splitlines()[-1])
  cli = pathlib.Path(sys.executable).with_name(program_name)
  shown = run_command(cli, *arguments, cwd=tmp_path).stdout
  numbers = shown.split("predictions:")[1].replace("[", "").replace("]", "")
  shown_scores = np.array(numbers.split(), float).reshape(2, 5)
  np.testing.assert_allclose(shown_scores, scores, atol=1e-6)


def test_a_request_as_serving_takes_it(exports, tmp_path, monkeypatch):
  folder = exports / "LogisticModel"
  script = block_with("python", '"b64"').replace(
    "/path/to/features/test0000.tfrecord", str(folder / "videos.tfrecord")
  )
  monkeypatch.chdir(tmp_path)
  (tmp_path / "script.py").write_text(script)
  runpy.run_path("script.py")
  request = json.loads((tmp_path / "request.json").read_text())
  records = [base64.b64decode(item["b64"]) for item in request["instances"]]
  model = exporting.load(str(folder / "export"))
  outputs = model.signatures["serving_default"](
    example_bytes=tf.constant(records)
  )
  # Serving makes an object of each row.
  answer = [
    dict(zip(outputs, row, strict=True))
    for row in zip(*(value.numpy() for value in outputs.values()), strict=True)
  ]
  (shown,) = (json.loads(block) for block in blocks(PAGE, "json"))
  assert [row.keys() for row in answer] == 2 * [shown["predictions"][0].keys()]
  known = np.load(folder / "known.npz")
  for row, scores in zip(answer, known["predictions"][:2], strict=True):
    order = np.argsort(-scores)
    assert row["class_indexes"].tolist() == order.tolist()
    np.testing.assert_allclose(row["predictions"], scores[order], atol=1e-6)
  assert answer[1]["video_id"] == b"video 1"
