# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The rules of the code that a program can check, and proof that each can fail.

`LEVELS` is the map of the modules: an import goes to a lower level, never to
the same one, so the modules can be read from the bottom up.
"""

import ast
import pathlib
import sys
import textwrap
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

LEVELS = {
  "program": 0,
  "average_precision_calculator": 0,
  "losses": 0,
  "model_layers": 0,
  "utils": 1,
  "devices": 1,
  "mean_average_precision_calculator": 1,
  "models": 3,
  "records": 2,
  "shard_files": 2,
  "segments": 3,
  "checkpoints": 3,
  "train_dir": 2,
  "video_level_models": 4,
  "frame_level_models": 5,
  "config": 3,
  "cluster": 2,
  "eval_util": 2,
  "vocabulary": 2,
  "bad_records": 3,
  "sources": 4,
  "readers": 5,
  "segment_reader": 6,
  "memory": 6,
  "experiment": 7,
  "evaluation": 8,
  "prediction_files": 9,
  "exporting": 8,
  "monitoring": 9,
  "train": 10,
  "eval": 10,
  "inference": 10,
  "ensemble": 10,
  "export_model": 10,
  "tools.verify_shards": 10,
  "tools.check_submission": 10,
  "tools.download": 10,
  "tools.sample_data": 10,
  "tools.quickstart": 10,
}
PROGRAM_LEVEL = 10

# Plain Python for the installer and for the import system.
PACKAGING = {"__init__", "setup"}

WITHOUT_TENSORFLOW = {
  "average_precision_calculator",
  "eval_util",
  "mean_average_precision_calculator",
}

MAX_FUNCTION_LINES = 60
MAX_FILE_BYTES = 100_000


def module_sources() -> dict[str, str]:
  """Module name -> source, of the modules at the root and in tools/."""
  sources = {path.stem: path.read_text() for path in sorted(ROOT.glob("*.py"))}
  for path in sorted(ROOT.glob("tools/*.py")):
    if path.stem != "__init__":
      sources[f"tools.{path.stem}"] = path.read_text()
  return sources


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
  """(line, dotted name) of every import, also those inside functions.

  `from a import b` gives "a.b": whether b is a module cannot be seen here.
  """
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        yield node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def own_imports(sources: dict[str, str]) -> dict[str, set[str]]:
  """Module name -> the modules among `sources` that it imports."""
  graph = {}
  for module, source in sources.items():
    names = {name for _, name in imported_names(ast.parse(source))}
    # "tools.a.b" may be the module tools.a, or what is called b in it.
    firsts = {".".join(name.split(".")[:2]) for name in names}
    firsts |= {name.split(".")[0] for name in names}
    graph[module] = firsts & set(sources)
  return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
  """The modules along one import cycle, the first repeated at the end."""

  def visit(module, path):
    if module in path:
      return [*path[path.index(module) :], module]
    for imported in sorted(graph.get(module, ())):
      if cycle := visit(imported, [*path, module]):
        return cycle
    return []

  return next(filter(None, (visit(module, []) for module in graph)), [])


def upward_imports(graph: dict[str, set[str]]) -> list[str]:
  """Imports that do not go to a lower level, programs by programs included."""
  return [
    f"{module} (level {LEVELS[module]}) imports {name} (level {LEVELS[name]})"
    for module, names in graph.items()
    for name in sorted(names)
    if LEVELS[name] >= LEVELS[module]
  ]


def program_imports(graph: dict[str, set[str]]) -> list[str]:
  """Imports of a program by anything else."""
  return [
    f"{module} imports the program {name}"
    for module, names in graph.items()
    for name in sorted(names)
    if LEVELS[name] == PROGRAM_LEVEL
  ]


def dotted(node: ast.AST) -> str:
  """Source of a chain like tf.io.gfile; "" of any other expression."""
  if isinstance(node, ast.Attribute):
    prefix = dotted(node.value)
    return f"{prefix}.{node.attr}" if prefix else ""
  return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST, *names: str) -> list[str]:
  """Calls of the functions with these dotted names, as written at the call."""
  return [
    f"line {node.lineno}: {dotted(node.func)}()"
    for node in ast.walk(tree)
    if isinstance(node, ast.Call) and dotted(node.func) in names
  ]


def imports_of(tree: ast.AST, *packages: str) -> list[str]:
  """Imports of these packages or of anything inside them."""
  return [
    f"line {line}: {name}"
    for line, name in imported_names(tree)
    if any(f"{name}.".startswith(f"{package}.") for package in packages)
  ]


def tensorflow_imports(tree: ast.AST) -> list[str]:
  """Imports of TensorFlow or of Keras."""
  return imports_of(tree, "tensorflow", "keras")


def old_tensorflow(tree: ast.AST) -> list[str]:
  """Uses of `tf.compat.v1` and of Keras 2."""
  uses = imports_of(tree, "tf_keras", "tensorflow.compat", "tensorflow_core")
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and dotted(node).endswith(".compat.v1"):
      uses.append(f"line {node.lineno}: {dotted(node)}")
  return uses


def pickling(tree: ast.AST) -> list[str]:
  """Ways to run what a data file says: pickle and what is built on it."""
  found = imports_of(
    tree, "pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve"
  )
  for node in ast.walk(tree):
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
      found.append(f"line {node.value.lineno}: allow_pickle")
  return found


def evaluated_text(tree: ast.AST) -> list[str]:
  """Calls of the builtins that run text as code."""
  return calls(tree, "eval", "exec", "builtins.eval", "builtins.exec")


def local_files(tree: ast.AST) -> list[str]:
  """File access that knows no gs:// paths, where tf.io.gfile does."""
  return calls(
    tree,
    *("open", "io.open", "os.listdir", "os.makedirs", "glob.glob"),
    *("os.path.exists", "os.path.isfile", "os.path.isdir"),
  )


def prints(tree: ast.AST) -> list[str]:
  """Calls of `print`."""
  return calls(tree, "print")


def late_program_import(tree: ast.AST) -> list[str]:
  """The first import from outside the standard library, unless `program`."""
  names = [name.split(".")[0] for _, name in sorted(imported_names(tree))]
  others = [name for name in names if name not in sys.stdlib_module_names]
  if not others or others[0] == "program":
    return []
  return [f"imports {others[0]} first, not program"]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
  """Every function and method, nested ones too."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      yield node


def long_functions(tree: ast.AST) -> list[str]:
  """Functions of too many lines, signature and docstring not counted."""
  found = []
  for function in functions(tree):
    body = function.body
    if ast.get_docstring(function) is not None:
      body = body[1:]
    lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
    if lines > MAX_FUNCTION_LINES:
      found.append(f"line {function.lineno}: {function.name}, {lines} lines")
  return found


def undocumented(tree: ast.AST) -> list[str]:
  """Public classes, functions and methods without a docstring."""
  found = []
  for node in ast.iter_child_nodes(tree):
    if not isinstance(
      node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) or node.name.startswith("_"):
      continue
    if ast.get_docstring(node) is None:
      found.append(f"line {node.lineno}: {node.name}")
    if isinstance(node, ast.ClassDef):
      found.extend(undocumented(node))
  return found


def swallowed_arguments(tree: ast.AST) -> list[str]:
  """Functions that take **anything and never look at it: typos vanish."""
  return [
    f"line {function.lineno}: **{function.args.kwarg.arg}"
    for function in functions(tree)
    if function.args.kwarg
    and function.args.kwarg.arg
    not in {
      node.id for node in ast.walk(function) if isinstance(node, ast.Name)
    }
  ]


EVERYWHERE = [
  old_tensorflow,
  pickling,
  evaluated_text,
  local_files,
  long_functions,
  undocumented,
  swallowed_arguments,
]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
  everything = module_sources()
  return {name: everything[name] for name in everything if name in LEVELS}


def test_every_module_has_a_level():
  assert sorted(module_sources().keys() - PACKAGING) == sorted(LEVELS)


def test_imports_have_no_cycle(sources):
  assert find_cycle(own_imports(sources)) == []


def test_imports_go_downwards(sources):
  assert upward_imports(own_imports(sources)) == []


def test_no_job_needs_the_tools(sources):
  # gcloud's packages leave the folder out.
  graph = own_imports(sources)
  assert not [
    (module, name)
    for module, names in graph.items()
    for name in names
    if name.startswith("tools.") and not module.startswith("tools.")
  ]


def test_nothing_imports_a_program(sources):
  assert program_imports(own_imports(sources)) == []


def findings(check, sources, modules) -> list[str]:
  """What `check` finds in the named modules, each with its module's name."""
  return [
    f"{module}.py {finding}"
    for module in sorted(modules & sources.keys())
    for finding in check(ast.parse(sources[module]))
  ]


@pytest.mark.parametrize("check", EVERYWHERE)
def test_no_module_has(check, sources):
  assert findings(check, sources, LEVELS.keys()) == []


def test_no_library_prints(sources):
  libraries = {name for name in sources if LEVELS[name] < PROGRAM_LEVEL}
  assert findings(prints, sources, libraries) == []


def test_metrics_need_no_tensorflow(sources):
  assert findings(tensorflow_imports, sources, WITHOUT_TENSORFLOW) == []


def test_programs_import_program_before_tensorflow(sources):
  programs = {name for name in sources if LEVELS[name] == PROGRAM_LEVEL}
  assert findings(late_program_import, sources, programs) == []


def test_every_python_file_starts_with_the_licence_and_a_docstring():
  licence = (
    "# Copyright 2026 The YouTube-8M suite authors.\n"
    "# SPDX-License-Identifier: Apache-2.0\n"
  )
  texts = {
    path.name: path.read_text()
    for path in [
      *ROOT.glob("*.py"),
      *ROOT.glob("tools/*.py"),
      *ROOT.glob("tests/**/*.py"),
    ]
  }
  assert [n for n, text in texts.items() if not text.startswith(licence)] == []
  assert [
    name
    for name, text in texts.items()
    if ast.get_docstring(ast.parse(text)) is None
  ] == []


def test_every_file_is_small():
  files = [
    *ROOT.glob("*"),
    *ROOT.glob("tools/*"),
    *ROOT.glob("tests/*"),
  ]
  sizes = {f.name: f.stat().st_size for f in files if f.is_file()}
  assert {k: size for k, size in sizes.items() if size > MAX_FILE_BYTES} == {}


# From here on: every check finds what it is there for.


@pytest.mark.parametrize(
  ("check", "bad"),
  [
    (old_tensorflow, "x = tf.compat.v1.placeholder(1)"),
    (old_tensorflow, "import tensorflow.compat.v1 as tf"),
    (old_tensorflow, "from tensorflow.compat import v1"),
    (old_tensorflow, "from tf_keras import layers"),
    (pickling, "def f():\n  import pickle"),
    (pickling, "from joblib import load"),
    (pickling, "np.load(path, allow_pickle=True)"),
    (evaluated_text, "eval(text)"),
    (evaluated_text, "f(lambda: exec(text))"),
    (local_files, "with open(path) as f:\n  pass"),
    (local_files, "os.path.exists(path)"),
    (prints, "def f():\n  print(1)"),
    (tensorflow_imports, "import tensorflow as tf"),
    (tensorflow_imports, "from keras import ops"),
    (late_program_import, "import tensorflow as tf\nimport program"),
    (late_program_import, "import readers\nimport program"),
    (late_program_import, "import tensorflow as tf"),
    (long_functions, "def f():\n  '''Doc.'''\n" + "  x()\n" * 61),
    (undocumented, "def f():\n  pass"),
    (undocumented, "class A:\n  '''Doc.'''\n  def f(self):\n    pass"),
    (undocumented, "class A:\n  pass"),
    (swallowed_arguments, "def f(a, **unused_params):\n  return a"),
  ],
)
def test_check_finds(check, bad):
  assert check(ast.parse(bad)) != []


@pytest.mark.parametrize(
  ("check", "good"),
  [
    (old_tensorflow, "x = tf.compat.as_text(b'')"),
    (pickling, "import pickles"),
    (evaluated_text, "model.eval(x)"),
    (local_files, "with gfile.open(path) as f:\n  pass"),
    (tensorflow_imports, "import tensorflow_free"),
    (late_program_import, "import os\nimport program\nimport tensorflow"),
    (late_program_import, "import subprocess"),
    (long_functions, "def f():\n  '''Doc.'''\n" + "  x()\n" * 60),
    (undocumented, "def _f():\n  pass\nclass _A:\n  def f(self):\n    pass"),
    (undocumented, "def f():\n  '''Doc.'''\n  def g():\n    pass"),
    (swallowed_arguments, "def f(**options):\n  return g(**options)"),
  ],
)
def test_check_passes(check, good):
  assert check(ast.parse(good)) == []


def test_cycle_is_found():
  graph = own_imports(
    {
      "readers": "import utils",
      "utils": "from experiment import x",
      "experiment": textwrap.dedent("""
        def build():
          import readers
      """),
      "models": "import numpy",
    }
  )
  assert find_cycle(graph) == ["readers", "utils", "experiment", "readers"]


@pytest.mark.parametrize(
  ("module", "imported"),
  [("utils", "readers"), ("losses", "models"), ("train", "eval")],
)
def test_upward_import_is_found(module, imported):
  graph = own_imports({module: f"import {imported}", imported: ""})
  assert len(upward_imports(graph)) == 1


def test_program_import_is_found():
  graph = own_imports({"train": "from eval import evaluate", "eval": ""})
  assert program_imports(graph) == ["train imports the program eval"]
