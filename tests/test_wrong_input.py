# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What users get wrong, and the one line that they should get for it.

Every case is a program that runs as users start it: its exit code and all that
it writes are checked. Most run in copies of one process (fork_programs.py),
which is quick; those marked `FROM_SCRATCH` in one of their own.
"""

import gzip
import json
import pathlib
import re
import shutil
import string

import pytest
import tensorflow as tf

FROM_SCRATCH = True
FAILURE, USAGE = 1, 2

# What is right; a case adds what is wrong, as the last of two equal flags wins.
RIGHT = {
  "train": (
    "--train_data_pattern=$video/train*",
    "--train_dir=$new",
    "--num_classes=25",
    "--num_epochs=1",
  ),
  "eval": (
    "--eval_data_pattern=$video/validate*",
    "--train_dir=$video_model",
    "--run_once",
  ),
  "inference": (
    "--input_data_pattern=$video/validate*",
    "--train_dir=$video_model",
    "--output_file=$output/predictions.csv",
  ),
}
FRAME_SHARDS = ("--train_data_pattern=$frame/train*", "--num_classes=12")
FRAME_MODEL = "--model=FrameLevelLogisticModel"
MODELS = "Available: FrameLevelLogisticModel, LogisticModel"


def case(program, flags, code, message, *options):
  """A case; its name is the flags that are wrong."""
  if isinstance(flags, str):
    flags = (flags,)
  name = f"{program} {' '.join(flags)}"
  return pytest.param(
    program, flags, code, message, *options or (None,), id=name
  )


FETCH_AGAIN = (
  "Shards are uncompressed TFRecord files; fetch this one again, or give "
  r"--on_bad_record=skip to leave out what cannot be read\."
)

SHARDS = [
  case(
    "eval",
    ("--on_bad_record=skip", "--max_bad_fraction=nan"),
    FAILURE,
    "--max_bad_fraction=nan should be from 0 to 1.",
  ),
  case(
    "eval",
    "--max_bad_fraction=1.5",
    USAGE,
    "max_bad_fraction",
  ),
  case(
    "eval",
    "--on_bad_record=ignore",
    USAGE,
    r"value should be one of <stop\|skip>",
  ),
  case(
    "train",
    "--train_data_pattern=",
    FAILURE,
    r"--train_data_pattern is empty\. Give the shards' path, for instance ",
  ),
  case("train", "--train_data_pattern= ,", FAILURE, "is empty"),
  case(
    "train",
    "--train_data_pattern=$video/trian*.tfrecord",
    FAILURE,
    r"--train_data_pattern: no file matches '.*/trian\*\.tfrecord'\. Check",
    FROM_SCRATCH,
  ),
  case(
    "eval",
    "--eval_data_pattern=$video/validate*,$video/none*",
    FAILURE,
    r"--eval_data_pattern: no file matches '.*/none\*'",
  ),
  case(
    "inference",
    "--input_data_pattern=$folder/a_directory",
    FAILURE,
    r"--input_data_pattern: '.*/a_directory' is a directory\. Name the files",
  ),
  case(
    "inference",
    "--input_data_pattern=$folder/directory.tfrecord",
    FAILURE,
    r"directory\.tfrecord' (is a directory|cannot be read)",
  ),
  case(
    "train",
    "--train_data_pattern=$folder/text.tfrecord",
    FAILURE,
    r"'.*/text\.tfrecord', record 0: the file begins with the text "
    rf"b'This is not '\. {FETCH_AGAIN}$",
  ),
  case(
    "train",
    "--train_data_pattern=$folder/gzip.tfrecord",
    FAILURE,
    r"'.*/gzip\.tfrecord', record 0: the file is compressed with gzip\. "
    f"{FETCH_AGAIN}$",
  ),
  case(
    "eval",
    "--eval_data_pattern=$folder/gzip.tfrecord",
    FAILURE,
    r"'.*/gzip\.tfrecord', record 0: the file is compressed with gzip\. "
    f"{FETCH_AGAIN}$",
  ),
  case(
    "train",
    "--train_data_pattern=$folder/empty.tfrecord",
    FAILURE,
    rf"'.*/empty\.tfrecord', record 0: the file is empty\. {FETCH_AGAIN}$",
  ),
  case(
    "train",
    "--train_data_pattern=$folder/other_records.tfrecord",
    FAILURE,
    r"other_records\.tfrecord', record 0: it is neither a tf\.Example nor",
  ),
  case(
    "inference",
    "--input_data_pattern=$folder/truncated.tfrecord",
    FAILURE,
    # Half a record; the id is in its first bytes, as the sample shards have it.
    r"'.*/truncated\.tfrecord', record 4 \(video '\w{4}'\): it should have \d+ "
    r"bytes and a checksum, but only \d+ bytes are left in the file\. "
    f"{FETCH_AGAIN}$",
  ),
  case(
    "train",
    "--train_data_pattern=$video/test*",
    FAILURE,
    r"--train_data_pattern: '.*/test0000\.tfrecord' has no labels",
  ),
  case(
    "train",
    "--eval_data_pattern=$video/test*",
    FAILURE,
    r"--eval_data_pattern: '.*/test0000\.tfrecord' has no labels",
  ),
  case(
    "train", "--eval_data_pattern=", FAILURE, "--eval_data_pattern is empty"
  ),
  case(
    "eval",
    "--eval_data_pattern=$video/test*",
    FAILURE,
    r"--eval_data_pattern: '.*/test0000\.tfrecord' has no labels; test shards "
    r"are only for inference\.py",
  ),
  case(
    "train",
    "--num_classes=2",
    FAILURE,
    r"train000\d\.tfrecord', record \d+ \(video '.{4}'\): its label \d+ is "
    r"outside \[0, 2\); check --num_classes\. --on_bad_record=skip leaves such "
    r"records out\.$",
  ),
]

FEATURES = [
  case(
    "train",
    FRAME_SHARDS,
    FAILURE,
    r"--model=LogisticModel takes video-level features, but the shards hold "
    r"frame-level ones \(rgb, audio\)\. .*FrameLevelLogisticModel",
  ),
  case(
    "train",
    FRAME_MODEL,
    FAILURE,
    "--model=FrameLevelLogisticModel takes frame-level features, but the "
    r"shards hold video-level ones \(mean_rgb, mean_audio\)",
  ),
  case(
    "train",
    "--frame_features",
    FAILURE,
    r"holds video-level features, but .*\(--frame_features=True\)",
  ),
  case(
    "train",
    (*FRAME_SHARDS, FRAME_MODEL, "--noframe_features"),
    FAILURE,
    r"holds frame-level features, but .*\(--frame_features=False\)",
  ),
  case(
    "train",
    "--feature_names=rgb,audio",
    FAILURE,
    r"The model reads feature 'rgb' .--feature_names., but .*train0000\.tfre"
    "cord' has the video-level features mean_audio, mean_rgb",
  ),
  case(
    "train",
    "--feature_sizes=1024,128",
    FAILURE,
    r"Feature 'mean_rgb' should have size 1024 \(--feature_sizes\), but in "
    r"'.*train0000\.tfrecord' it has size 16",
  ),
  case(
    "train",
    "--feature_sizes=16",
    FAILURE,
    r"--feature_names has 2 names \(mean_rgb,mean_audio\), --feature_sizes has "
    "1 sizes",
  ),
  case(
    "train",
    ("--feature_names=mean_rgb", "--feature_sizes=16,8"),
    FAILURE,
    r"--feature_names has 1 names \(mean_rgb\), --feature_sizes has 2 sizes",
  ),
  case(
    "train", "--feature_sizes=16,x", FAILURE, "--feature_sizes='16,x' cannot be"
  ),
  case("train", "--feature_sizes=16,-8", FAILURE, "--feature_sizes=-8 should"),
  case(
    "train",
    "--feature_names=mean_rgb,mean_rgb",
    FAILURE,
    "--feature_names=mean_rgb,mean_rgb names a feature twice",
  ),
  case(
    "eval",
    "--eval_data_pattern=$frame/validate*",
    FAILURE,
    "The model reads feature 'mean_rgb' .--feature_names., but '.*validate0000"
    ".tfrecord' has the frame-level features audio, rgb",
  ),
  case(
    "inference",
    "--train_dir=$frame_model",
    FAILURE,
    "The model reads feature 'rgb' .--feature_names., but '.*validate0000"
    ".tfrecord' has the video-level features mean_audio, mean_rgb",
  ),
  case(
    "train",
    "--train_dir=$frame_model",
    FAILURE,
    "The model reads feature 'rgb'|--num_classes=25 contradicts",
  ),
]

CHOICES = [
  case(
    "train",
    "--model=Logistic",
    FAILURE,
    f"--model: unknown 'Logistic'. {MODELS}",
  ),
  case("train", "--model=BaseModel", FAILURE, MODELS),
  case("train", "--model=os.system", FAILURE, MODELS),
  case(
    "train",
    "--label_loss=Hinge",
    FAILURE,
    "--label_loss: unknown 'Hinge'. "
    "Available: CrossEntropyLoss, HingeLoss, SoftmaxLoss",
  ),
  case(
    "train",
    "--optimizer=Adma",
    FAILURE,
    "--optimizer: unknown 'Adma'. Available: .*Adagrad.* Adam.* SGD",
  ),
  case(
    "train",
    '--model_kwargs={"hidden": 3}',
    FAILURE,
    "--model_kwargs: LogisticModel has no argument 'hidden'. "
    "Available: l2_penalty, labels_per_video",
  ),
  case(
    "train",
    "--model_kwargs={l2_penalty: 1}",
    FAILURE,
    r"--model_kwargs='{l2_penalty: 1}' cannot be parsed: ",
  ),
  case(
    "train", "--model_kwargs=[1]", FAILURE, "--model_kwargs='.1.' cannot be"
  ),
  case(
    "train",
    '--model_kwargs={"labels_per_video": -1}',
    FAILURE,
    r"--model_kwargs=.* does not suit LogisticModel: labels_per_video=-1",
  ),
  case(
    "train",
    '--model_kwargs={"l2_penalty": "high"}',
    FAILURE,
    "--model_kwargs=.* does not suit LogisticModel: ",
  ),
  case("train", "--num_gpu=99", FAILURE, r"--num_gpu=99, but \d+ are visible"),
]

FLAGS = [
  *(
    case(
      program, f"--batch_size={value}", USAGE, f"flag --batch_size={value}: "
    )
    for program, value in [
      ("train", "0"),
      ("train", "abc"),
      ("eval", "-1"),
      ("inference", "1.5"),
    ]
  ),
  case(
    "inference",
    "--on_bad_record=ignore",
    USAGE,
    r"--on_bad_record=ignore: value should be one of <stop\|skip>",
  ),
  case("eval", "--max_bad_fraction=1.5", USAGE, "--max_bad_fraction=1.5: "),
  case("train", "--max_bad_fraction=-1", USAGE, "--max_bad_fraction=-1: "),
  case("train", "--num_epochs=0", USAGE, "flag --num_epochs=0: "),
  case("train", "--base_learning_rate=-1", USAGE, "--base_learning_rate=-1"),
  case(
    "train", "--clip_gradient_norm=-0.5", USAGE, "--clip_gradient_norm=-0.5"
  ),
  case("train", "--start_new_model=maybe", USAGE, "--start_new_model=maybe"),
  case("inference", "--top_k=0", USAGE, "flag --top_k=0: "),
  case(
    "train",
    "--bach_size=3",
    USAGE,
    r"Unknown command line flag 'bach_size'\. Did you mean: batch_size",
    FROM_SCRATCH,
  ),
  case(
    "eval",
    "$video/validate0000.tfrecord",
    USAGE,
    "unexpected argument '.*validate0000.tfrecord'. Flags are written --name",
  ),
]

TRAIN_DIRS = [
  case(
    "eval",
    "--train_dir=$folder/none",
    FAILURE,
    r"--train_dir='.*/none' has no model_flags\.json: no model was trained",
  ),
  case("inference", "--train_dir=$folder/none", FAILURE, "has no model_flags"),
  case(
    "eval",
    "--train_dir=$no_checkpoint",
    FAILURE,
    r"--train_dir='.*/no_checkpoint' has no checkpoint yet\. Train a model",
    FROM_SCRATCH,
  ),
  case(
    "inference",
    "--train_dir=$no_checkpoint",
    FAILURE,
    "--train_dir='.*/no_checkpoint' has no checkpoint yet",
  ),
  *(
    case(
      program,
      "--num_classes=30",
      FAILURE,
      "--num_classes=30 contradicts the train dir, whose model has "
      "num_classes=25",
    )
    for program in ("eval", "inference")
  ),
  case(
    "eval",
    '--model_kwargs={"l2_penalty": 1}',
    FAILURE,
    "--model_kwargs=.*l2_penalty.* contradicts .* has model_kwargs={}",
  ),
  case(
    "inference",
    "--feature_names=mean_audio,mean_rgb",
    FAILURE,
    "--feature_names=mean_audio,mean_rgb contradicts the train dir, whose "
    "model has feature_names=mean_rgb,mean_audio",
  ),
  *(
    case(
      "train",
      ("--train_dir=$video_model", f"--{name}={value}"),
      FAILURE,
      f"--{name}={value} contradicts the train dir, whose model has "
      f"{name}={saved}",
    )
    for name, value, saved in [
      ("num_classes", 30, 25),
      ("model", "FrameLevelLogisticModel", "LogisticModel"),
      ("optimizer", "SGD", "AdamOptimizer"),
      ("seed", 4, 3),
    ]
  ),
  case(
    "train",
    "--train_dir=$no_config",
    FAILURE,
    r"has a checkpoint but no model_flags\.json, so it cannot be resumed",
  ),
  case(
    "train", "--train_dir=$no_json", FAILURE, r"model_flags\.json' is not valid"
  ),
  case(
    "eval", "--train_dir=$no_json", FAILURE, r"model_flags\.json' is not valid"
  ),
  case(
    "eval",
    "--train_dir=$other_json",
    FAILURE,
    r"model_flags\.json' was not written by this trainer: expected an object",
  ),
  case(
    "inference",
    "--train_dir=$wrong_type",
    FAILURE,
    r"model_flags\.json': --num_classes='25' should be of type int",
  ),
  case("inference", "--train_dir=$stranger", FAILURE, MODELS),
  case(
    "inference",
    "--train_dir=$giant",
    FAILURE,
    r"--num_classes=9000000 times --feature_sizes=.* weights, more than",
  ),
  case(
    "eval",
    "--train_dir=$other_weights",
    FAILURE,
    r"model\.ckpt-\d+' does not hold the model that model_flags\.json",
  ),
  *(
    case(
      program,
      "--train_dir=$damaged",
      FAILURE,
      r"(model\.ckpt-\d+' cannot|No checkpoint in '.*' can) be read: "
      "its data end too early: ",
    )
    for program in RIGHT
  ),
  case(
    "train",
    "--train_dir=$folder/text.tfrecord",
    FAILURE,
    r"'.*text\.tfrecord' is a file; a folder is needed",
  ),
  case(
    "train",
    "--train_dir=$folder/text.tfrecord/model",
    FAILURE,
    r"--train_dir='.*/model' cannot be made: ",
  ),
]

OUTPUT = [
  case(
    "inference",
    "--output_file=$output/none/predictions.csv",
    FAILURE,
    r"'.*/none/predictions\.csv' cannot be written: .*No such file",
    FROM_SCRATCH,
  ),
  case(
    "inference",
    "--output_file=$folder/text.tfrecord/predictions.csv",
    FAILURE,
    r"'.*/predictions\.csv' cannot be written: ",
  ),
  case(
    "inference",
    "--output_file=$folder/a_directory",
    FAILURE,
    "'.*/a_directory' cannot be written: a file's name is needed",
  ),
  case(
    "inference",
    "--output_file=$output/",
    FAILURE,
    "'.*/output/' cannot be written: a file's name is needed",
  ),
  case(
    "inference",
    "--output_file=",
    FAILURE,
    "'' cannot be written: a file's name is needed",
  ),
  case(
    "inference",
    "--vocabulary_file=$folder/none.csv",
    FAILURE,
    r"--vocabulary_file='.*/none\.csv' cannot be read: ",
  ),
  case(
    "inference",
    "--vocabulary_file=$folder/text.tfrecord",
    FAILURE,
    r"--vocabulary_file='.*' is not the dataset's vocabulary\.csv",
  ),
]

MISSING = [
  ("train", "train_data_pattern"),
  ("eval", "eval_data_pattern"),
  ("inference", "input_data_pattern"),
]


@pytest.fixture(scope="module")
def places(
  trained_video, trained_frame, tmp_path_factory
) -> dict[str, pathlib.Path]:
  """What the names after a $ in the flags stand for."""
  folder = tmp_path_factory.mktemp("wrong")
  places = {
    "folder": folder,
    "video": trained_video.shards.folder,
    "frame": trained_frame.shards.folder,
    "video_model": trained_video.train_dir,
    "frame_model": trained_frame.train_dir,
    **broken_train_dirs(trained_video.train_dir, folder),
  }
  (folder / "a_directory").mkdir()
  (folder / "directory.tfrecord").mkdir()
  (folder / "empty.tfrecord").touch()
  text = "This is not a shard.\n" * 10
  (folder / "text.tfrecord").write_text(text)
  with tf.io.TFRecordWriter(str(folder / "other_records.tfrecord")) as writer:
    writer.write(text.encode())
  shard = (places["video"] / "validate0000.tfrecord").read_bytes()
  (folder / "gzip.tfrecord").write_bytes(gzip.compress(shard))
  # Of 20 records, which differ little in length.
  truncated = shard[: round(len(shard) * 4.5 / 20)]
  (folder / "truncated.tfrecord").write_bytes(truncated)
  return places


def broken_train_dirs(train_dir, folder) -> dict[str, pathlib.Path]:
  """Copies of a train dir, each with something wrong."""
  config = json.loads((train_dir / "model_flags.json").read_text())
  contents = {
    "no_json": '{"model": ',
    "other_json": json.dumps({**config, "colour": "red"}),
    "wrong_type": json.dumps({**config, "num_classes": "25"}),
    "stranger": json.dumps({**config, "model": "os.system"}),
    "giant": json.dumps(
      {**config, "num_classes": 9_000_000, "feature_sizes": [16, 9_000_000]}
    ),
    "other_weights": json.dumps({**config, "num_classes": 26}),
    "no_checkpoint": json.dumps(config),
    "no_config": None,
    "damaged": json.dumps(config),
  }
  for name, text in contents.items():
    copy = folder / name
    # Only what belongs to the trainer.
    shutil.copytree(
      train_dir, copy, ignore=shutil.ignore_patterns("eval", "events*")
    )
    (copy / "model_flags.json").unlink()
    if text is not None:
      (copy / "model_flags.json").write_text(text)
  for path in (folder / "no_checkpoint").glob("*c*k*p*t*"):
    path.unlink()
  for path in (folder / "damaged").glob("model.ckpt-*.data*"):
    path.write_bytes(path.read_bytes()[:-100])
  return {name: folder / name for name in contents}


@pytest.mark.parametrize(
  ("program", "flags", "code", "message", "from_scratch"),
  [*SHARDS, *FEATURES, *CHOICES, *FLAGS, *TRAIN_DIRS, *OUTPUT],
)
def test_mistake_gets_one_line(
  program, flags, code, message, from_scratch, places, request, tmp_path
):
  run = request.getfixturevalue(
    "run_program" if from_scratch else "fork_program"
  )
  output = tmp_path / "output"
  output.mkdir()
  values = {**places, "new": tmp_path / "new", "output": output}
  flags = [
    string.Template(flag).substitute(values)
    for flag in (*RIGHT[program], *flags)
  ]
  assert_one_line(run(program, *flags, check=False), program, code, message)
  assert not list(output.iterdir())
  assert not list((tmp_path / "new").glob("model.ckpt*"))


@pytest.mark.parametrize(("program", "flag"), MISSING)
def test_required_flag(program, flag, fork_program):
  result = fork_program(program, check=False)
  assert_one_line(result, program, USAGE, f"--{flag}")


def assert_one_line(result, program, code, message):
  """Checks all that a user sees of a program that failed."""
  assert result.returncode == code, result.output
  assert result.stdout == ""
  # A damaged checkpoint is also warned of before there is no older one.
  lines = result.stderr.splitlines()
  (line,) = [line for line in lines if " WARNING " not in line]
  assert re.match(rf"{program}\.py: error: .*({message})", line)
