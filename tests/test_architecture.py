"""The shape of the package: who may import whom, and what stands nowhere.

Read from the source, so that imports inside functions count too.
"""

import ast
import re
import sys
from pathlib import Path

import pytest
from warm_python import FORGET

PACKAGE = Path(__file__).parents[1] / "dspy_gepa"
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text("utf-8")) for module, path in FILES.items()}

# What each room may import of ours, beside itself. A room is a folder or a module at the top.
SHARED = {"core", "values", "errors"}
MAY_IMPORT = {
    "errors": set(),
    "core": set(),
    "values": {"core.rollout", "errors"},
    "reflect": SHARED,
    "store": SHARED,
    "story": {*SHARED, "store"},
    "views": {"story", "errors", "store.files"},
    "observe": {
        "core", "errors", "story", "store.files", "store.manifest", "store.run_dir", "views",
    },
    "run": {"core", "store", "observe", "errors"},
    "models": {*SHARED, "reflect.exchange"},
    "judging": {*SHARED, "models"},
    "program": {*SHARED, "reflect", "models", "judging", "run.worker", "run.parcel"},
    "artifact": {
        *SHARED, "reflect", "models", "judging", "run.worker", "run.parcel", "store.codec",
    },
    "metrics": {"judging", "errors"},
    "testing": {"core", "run", "errors"},
    # What follows a search, and what is read of it.
    "verdict": {*SHARED, "run", "store"},
    "specialists": {"core", "program.examples", "program.program", "verdict.interval", "errors"},
    "result": {"core", "story", "views", "verdict.finding", "specialists.routing", "errors"},
    "plan": {"core", "story", "views", "errors"},
    # What is given, and what is made from it.
    "config": {
        *SHARED, "models", "judging", "observe.display", "observe.observer", "plan", "reflect",
        "run",
        "specialists.pool",
    },
    "presets": {*SHARED, "config", "program.examples"},
    "session": {
        *SHARED, "models.outages", "observe", "presets", "reflect.answers", "result", "run",
        "store", "story.stored",
    },
    "assembly": {
        *SHARED, "config", "models", "observe", "program", "reflect", "result", "run", "store",
        "specialists.routing", "story", "verdict",
    },
    "compat": {*SHARED, "config", "models", "plan", "program.program"},
    "compilation": {
        *SHARED, "assembly", "config", "models", "observe", "plan", "presets", "program",
        "reflect", "result", "run", "session", "specialists", "store", "verdict",
    },
    "improvement": {
        *SHARED, "artifact", "assembly", "config", "models", "observe", "presets",
        "program.examples", "reflect", "result", "run", "session", "store", "story.story",
        "verdict", "views.told",
    },
    "saved_run": {
        *SHARED, "assembly", "program", "result", "specialists", "store", "story", "verdict",
        "views",
    },
    # The two doors know every room, and nobody else comes into `compat`.
    "gepa": {
        *SHARED, "compat", "compilation", "config", "models", "observe", "plan", "program",
        "result",
    },
    "anything": {*SHARED, "artifact", "compat", "config", "improvement", "models", "observe"},
    "__init__": {
        "anything", "artifact.output", "compat.install", "core", "gepa", "improvement.result",
        "judging.feedback", "observe.observer", "reflect.predicates", "result", "saved_run",
        "specialists.module",
    },
    "demo": {"__init__", "errors"},
    # The command line reads what runs left, and goes in by the doors; it tells wrong names as they
    # do.
    "command": {
        *SHARED, "anything", "compat.names", "demo", "gepa", "improvement.config",
        "models.catching", "observe", "plan", "program", "result", "run.interruption", "saved_run",
        "store", "story", "views",
    },
    "__main__": {"command"},
}  # fmt: skip
INSTALL = "dspy_gepa.compat.install"
"""The one module that knows a door: it puts it in the place of DSPy's."""
# The same for the rooms inside `program`, of each other; what stands beside them knows them all.
INSIDE_PROGRAM = {
    "components": set(),
    "rollouts": {"components"},
    "proposers": {"components", "rollouts"},
}
KNOWS_DSPY = {
    "models", "judging", "program", "specialists", "metrics", "compat", "assembly", "compilation",
    "improvement", "saved_run", "gepa", "anything", "demo", "command",
}  # fmt: skip
CATCH_EVERYTHING = {"models", "observe"}
DOORS = {"dspy_gepa.gepa", "dspy_gepa.anything"}
IMPURE = {
    "asyncio", "concurrent", "contextvars", "datetime", "io", "logging", "multiprocessing", "os",
    "pathlib", "queue", "secrets", "shutil", "signal", "socket", "subprocess", "sys", "tempfile",
    "threading", "time", "uuid", "warnings",
}  # fmt: skip
IMPORTS = (ast.Import, ast.ImportFrom)
PICKLES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "copyreg", "joblib"}


def room_of(module):
    """The folder that a module of ours belongs to, and for one at the top the module itself."""
    return [*module.split("."), "__init__"][1]


def imports_of(tree):
    """Every import in a module, wherever it stands: (statement, imported module or name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def our_imports(module):
    """The modules of ours that a module imports."""
    for _, name in imports_of(TREES[module]):
        if name.split(".")[0] == "dspy_gepa":
            yield name if name in TREES else name.rpartition(".")[0]


def found(check):
    """Every place in the package where a check of one syntax node holds."""
    return [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if check(module, node)
    ]


def test_every_module_belongs_to_a_known_room():
    """There is no room without rules."""
    assert {room_of(module) for module in TREES} <= set(MAY_IMPORT)


def test_imports_go_in_the_agreed_directions():
    """A room imports itself and what it may know of the others, lazily or not."""
    wrong = []
    for module in TREES:
        room = room_of(module)
        for imported in our_imports(module):
            inside = imported.removeprefix("dspy_gepa").removeprefix(".") or "__init__"
            allowed = MAY_IMPORT[room] | ({room} if room != "__init__" else set())
            allowed |= {"gepa"} if module == INSTALL else set()
            if not {inside, room_of(imported)} & allowed:
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_the_rooms_of_the_program_stand_on_each_other():
    """Components know nothing of rollouts, rollouts nothing of proposers."""
    program = "dspy_gepa.program."
    wrong = [
        f"{module} imports {imported}"
        for module in TREES
        if (room := module.removeprefix(program).split(".")[0]) in INSIDE_PROGRAM
        for imported in our_imports(module)
        if imported.startswith(program)
        and imported.removeprefix(program).split(".")[0] not in {room, *INSIDE_PROGRAM[room]}
    ]
    assert wrong == []


def test_there_is_no_import_cycle():
    """No module imports itself over any number of others, not even inside a function."""
    edges = {module: sorted({*our_imports(module)} - {module}) for module in TREES}
    done = set()

    def follow(module, path):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for imported in edges.get(module, ()):
                follow(imported, [*path, module])
            done.add(module)

    for module in TREES:
        follow(module, [])


def test_few_files_stand_at_the_top():
    """Who looks for something has eight names to read, beside the errors and two entry points."""
    beside = {"__init__.py", "__main__.py", "errors.py"}
    at_top = {path.name for path in PACKAGE.glob("*.py")} - beside
    assert len(at_top) <= 8, sorted(at_top)


def test_imports_are_absolute():
    """There is one way to name a module."""
    assert found(lambda _module, node: isinstance(node, ast.ImportFrom) and node.level) == []


def test_underscore_names_stay_in_their_module():
    """Nothing imports what another module, ours or not, keeps to itself."""

    def is_private(_module, node):
        return isinstance(node, ast.ImportFrom) and any(
            part.startswith("_") and not part.endswith("__")
            for part in [*node.module.split("."), *(alias.name for alias in node.names)]
        )

    assert found(is_private) == []


def test_dspy_is_known_at_the_edge_only():
    """Only the rooms that are about DSPy import it."""
    wrong = [
        module
        for module, tree in TREES.items()
        if any(name.split(".")[0] == "dspy" for _, name in imports_of(tree))
        and room_of(module) not in KNOWS_DSPY
    ]
    assert wrong == []


def test_core_imports_the_standard_library_and_numpy_only():
    """The core has no clock, thread, file, log or environment at hand."""
    allowed = (set(sys.stdlib_module_names) - IMPURE) | {"numpy", "dspy_gepa", "__future__"}
    wrong = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        if room_of(module) == "core"
        for _, name in imports_of(tree)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_core_reads_and_writes_nothing():
    """The core calls nothing that reaches the outside world."""
    builtins = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}

    def reaches_out(module, node):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return room_of(module) == "core" and is_call and node.func.id in builtins

    assert found(reaches_out) == []


def test_core_has_no_global_chance():
    """Of Python's `random` the core uses generators only, and of numpy's nothing."""
    global_names = {name for name in dir(__import__("random")) if name != "Random"}

    def is_global_chance(module, node):
        if room_of(module) != "core":
            return False
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            return any(alias.name != "Random" for alias in node.names)
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return False
        is_module = any(name == "random" for _, name in imports_of(TREES[module]))
        return (node.value.id, node.attr) == ("np", "random") or (
            is_module and node.value.id == "random" and node.attr in global_names
        )

    assert found(is_global_chance) == []


def is_set(node, named):
    """Whether an expression is certainly a set."""
    if isinstance(node, ast.BinOp):
        return is_set(node.left, named) or is_set(node.right, named)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Name) and node.id in named
    )


def set_iterations(tree):
    """Where a module goes through a set in the set's own order, as far as syntax shows it."""
    ordered = {"list", "tuple", "iter", "enumerate", "map", "zip", "next", "reversed"}
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)] or [tree]
    for scope in functions:
        named = {
            target.id
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign) and is_set(node.value, set())
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(scope):
            walked = []
            if isinstance(node, ast.For | ast.comprehension):
                walked = [node.iter]
            elif isinstance(node, ast.Starred):
                walked = [node.value]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                walked = node.args if node.func.id in ordered else []
            yield from (part.lineno for part in walked if is_set(part, named))


def test_core_iterates_over_no_set():
    """What the core does never hangs on the order of a set, which hash seeds change."""
    cores = {module: tree for module, tree in TREES.items() if room_of(module) == "core"}
    wrong = {module: sorted({*set_iterations(tree)}) for module, tree in cores.items()}
    assert {module: lines for module, lines in wrong.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        ("for x in {1, 2}: pass", True),
        ("for x in sorted({1, 2}): pass", False),
        ("[x for x in set(y)]", True),
        ("{x for x in y}", False),
        ("def f():\n    a = frozenset(y)\n    return list(a)", True),
        ("def f():\n    a = frozenset(y)\n    return [b for b in c if b in a]", False),
        ("f(*(set(y) | z))", True),
    ],
)
def test_the_rule_on_sets_sees_what_it_forbids(source, is_wrong):
    """The check above is no empty one."""
    assert any(set_iterations(ast.parse(source))) == is_wrong


def test_everything_is_caught_in_two_places_only():
    """`except Exception` stands at the worker boundary and the observer fan-out, once each."""

    def catches_everything(_module, node):
        if not isinstance(node, ast.ExceptHandler):
            return False
        names = (
            {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else set()
        )
        return node.type is None or bool(names & {"Exception", "BaseException"})

    rooms = [room_of(place.split(":")[0]) for place in found(catches_everything)]
    assert sorted(rooms) == sorted(set(rooms)), found(catches_everything)
    assert set(rooms) <= CATCH_EVERYTHING, found(catches_everything)


def test_nothing_configures_dspy():
    """Settings of DSPy are the caller's."""
    assert found(lambda _, node: isinstance(node, ast.Attribute) and node.attr == "configure") == []


def test_nothing_is_pickled():
    """Of pickle nothing is used but its error, which copying an object may raise.

    What travels between the processes of one run is no state of ours: it is made and read by the
    same code, and kept nowhere.
    """

    def pickles(module, node):
        if module == "dspy_gepa.run.parcel":
            return False
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.value.id == "pickle" and node.attr != "PickleError"
        names = [name for _, name in imports_of(node)] if isinstance(node, IMPORTS) else []
        return any(name.split(".")[0] in PICKLES and name != "pickle" for name in names)

    assert found(pickles) == []


def test_the_gepa_package_is_not_imported():
    """The engine is our own: only tests and benchmarks may import the other one."""
    wrong = [
        module
        for module, tree in TREES.items()
        if any(name.split(".")[0] == "gepa" for _, name in imports_of(tree))
    ]
    assert wrong == []


def handed_on(lines):
    """How many of these lines only hand an argument on under its own name."""
    return sum(bool(re.fullmatch(r"\s+(\w+)=\1,", line)) for line in lines)


def body_of(node):
    """The statements of a function or class, without its docstring."""
    return node.body[1:] if ast.get_docstring(node) else node.body


def said_of(node):
    """How many lines the signature and the docstring of a function or class have."""
    body = body_of(node)
    return body[0].lineno - node.lineno if body else node.end_lineno - node.lineno


def test_files_and_functions_are_short():
    """No file has more than 400 lines, no function's body more than 50.

    Signatures and docstrings are not counted in functions, nor in the doors, which have to name
    every argument of two other optimizers; nor there the lines that hand one on under its name.
    """

    def length(module):
        lines, tree = FILES[module].read_text("utf-8").splitlines(), TREES[module]
        if module not in DOORS:
            return len(lines)
        kinds = (ast.FunctionDef, ast.ClassDef)
        said = sum(said_of(node) for node in ast.walk(tree) if isinstance(node, kinds))
        return len(lines) - said - handed_on(lines)

    assert {module: lines for module in FILES if (lines := length(module)) > 400} == {}

    def is_long(module, node):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not body_of(node):
            return False
        lines = FILES[module].read_text("utf-8").splitlines()
        lines = lines[body_of(node)[0].lineno - 1 : node.end_lineno]
        return len(lines) - (handed_on(lines) if module in DOORS else 0) > 50

    assert found(is_long) == []


def test_every_module_says_what_it_is():
    """A module begins with its docstring, before any import."""
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []


# DSPy and litellm were imported before: what they do then is theirs.
IMPORT = f"""{FORGET}
seen = []
watched = {{"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"}}
sys.addaudithook(lambda event, arguments: seen.append(event) if event in watched else None)
import dspy_gepa.command.main

optional = ("xllamacpp", "hypothesis", "matplotlib", "mlflow", "wandb", "dask", "ray", "pytest")
weights = [name for name in sys.modules if name.endswith("_part1")]
print(seen, weights, [name for name in optional if name in sys.modules])
"""


def test_importing_the_package_starts_nothing(warm_python):
    """`import dspy_gepa` and its commands open no connection, start no server or process, and load
    no extra."""
    done = warm_python.run(IMPORT)
    assert (done.stdout.strip(), done.stderr) == ("[] [] []", "")
