"""The arrows between the rooms, and what the pure rooms may not reach."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "solver", "worker")

# room -> rooms of ours it may import (itself always). The longest prefix that fits a module is its room.
ARROWS = {
    "schemas": set(),
    "solver": set(),
    "worker.book": {"schemas", "solver"},
    "worker.edge": {
        "schemas",
        "worker.record",
        "worker.fetched",  # records as columns
        "worker.lines",
        "worker.settings",
        "worker.client_settings",
        "worker.curves",
        "worker.explain",
        "worker.figures",
        "worker.findings",
        "worker.summary",
    },
    "worker.demo": {
        "schemas",
        "worker",  # the chain of outputs
        "worker.summary",
        "worker.record",
        "worker.settings",
        "worker.loop",
        "worker.engine",
        "worker.edge",
    },
    "worker.adapters": {"schemas", "worker.record"},
    "worker.record": set(),
    "worker.fetched": {"worker.book", "worker.record"},
    "worker.lines": {"worker.book", "worker.fetched"},
    "worker.settings": {"schemas", "worker.hints", "worker.sections", "worker.client_settings", "worker.tiers"},
    "worker.sections": set(),
    "worker.tiers": set(),
    "worker.client_settings": set(),
    "worker.hints": set(),
    "worker.curves": set(),
    "worker.figures": set(),
    "worker.explain": {"schemas", "worker.record", "worker.explain_risk", "worker.explain_words"},
    "worker.explain_risk": {"schemas"},
    "worker.explain_words": set(),
    "worker.summary": {"schemas", "worker", "worker.record"},  # the chain of outputs
    "worker.loop": {"schemas", "worker", "worker.record", "worker.settings"},
    "worker.findings": set(),
    "worker.check": {
        "schemas",
        "worker",
        "worker.book",
        "worker.findings",
        "worker.loop",
        "worker.record",
        "worker.settings",
    },
    "worker.verify": {"schemas", "worker", "worker.loop", "worker.record", "worker.settings"},
    "worker": {
        "schemas",
        "solver",
        "worker.book",
        "worker.curves",
        "worker.fetched",
        "worker.figures",
        "worker.record",
        "worker.settings",
        "worker.tiers",
    },
}
# The composition root, one file per command, may import everything; it is not a room.
ROOT_MODULE = "worker.cli"

IMPURE = {
    "asyncio", "concurrent", "confluent_kafka", "ctypes", "datetime", "getpass", "glob", "http", "io", "locale",
    "logging", "multiprocessing", "os", "pathlib", "platform", "queue", "random", "rich", "secrets", "select", "shutil",
    "signal", "socket", "sqlite3", "structlog", "subprocess", "sys", "tempfile", "threading", "time", "typer", "urllib",
    "uuid", "zoneinfo",
}  # fmt: skip
PURE = (
    "schemas",
    "solver",
    "worker.book",
    "worker.adapters",
    "worker.record",
    "worker.settings",
    "worker.explain",
    "worker.summary",
)
# Whatever is added to the pure rooms, or directly to `worker`, is pure but for these few.
NOT_PURE = {
    "worker", "worker.cli", "worker.loop",
    "schemas.json_schema",  # writes its file
    "solver.cache",  # reads the sources of what is compiled
    "solver.optimum.threads",  # threads on fixed parts, whose number changes no bit: test_fast.py
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "breakpoint", "exec", "eval", "hash", "__import__"}
# Results differ between CPU generations or runs (faults.md): not on the path of a decision.
UNSTABLE = {
    ("np", "random"), ("np", "exp"), ("np", "log"), ("np", "log2"), ("np", "log10"), ("np", "exp2"), ("np", "expm1"),
    ("np", "log1p"), ("np", "power"), ("np", "sin"), ("np", "cos"), ("np", "tan"), ("np", "tanh"),
    ("math", "exp"), ("math", "log"), ("math", "log2"), ("math", "log10"), ("math", "expm1"), ("math", "log1p"),
    ("math", "pow"), ("math", "erf"), ("math", "erfc"), ("math", "sin"), ("math", "cos"), ("math", "tan"),
}  # fmt: skip


def modules() -> dict[str, ast.Module]:
    """Every module of the three packages, parsed."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imports(module: str, tree: ast.Module, *, is_package: bool = False) -> set[str]:
    """Dotted names a module imports, wherever in it; `from a import b` counts as a and as a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    return max((room for room in ARROWS if module == room or module.startswith(room + ".")), key=len)


def is_root(module: str) -> bool:
    return module == ROOT_MODULE or module.startswith(ROOT_MODULE + ".")


def is_pure(module: str) -> bool:
    if module in NOT_PURE:
        return False
    if any(module == room or module.startswith(room + ".") for room in PURE):
        return True
    return module.startswith("worker.") and module.count(".") == 1


def against_the_arrows(module: str, tree: ast.Module) -> list[str]:
    """What a module imports of ours that its room may not."""
    if is_root(module):
        return []
    room = room_of(module)
    known = set(MODULES) | set(ROOMS)
    wrong = []
    for name in imports(module, tree, is_package=(ROOT / module.replace(".", "/")).is_dir()):
        if name.split(".")[0] not in ROOMS or name not in known or name == "worker":
            continue
        target = room_of(name)
        if is_root(name) or (target != room and target not in ARROWS[room]):
            wrong.append(name)
    return sorted(wrong)


def impurities(tree: ast.Module) -> list[str]:
    """Modules, calls and functions in a module that reach a clock, chance, the environment or unstable arithmetic."""
    found = [name for name in imports("x", tree) if name.split(".")[0] in IMPURE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            found.append(f"{node.func.id}()")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = ("np" if node.value.id == "numpy" else node.value.id, node.attr)
            if used in UNSTABLE:
                found.append(".".join(used))
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            found.append("fastmath")
    return sorted(set(found))


MODULES = modules()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_imports_against_the_arrows(module):
    """Each room imports only the rooms that architecture.md lets it."""
    assert against_the_arrows(module, MODULES[module]) == []


@pytest.mark.parametrize("module", sorted(filter(is_pure, MODULES)))
def test_pure_rooms_reach_no_clock_chance_or_environment(module):
    """A pure module's results depend on its arguments alone, on every machine."""
    assert impurities(MODULES[module]) == []


def test_schemas_use_msgspec_and_the_standard_library_only():
    """The words on the wire can be read without numpy or anything else of ours."""
    found = {n.split(".")[0] for m, tree in MODULES.items() if room_of(m) == "schemas" for n in imports(m, tree)}
    assert not found & {"numpy", "numba", "structlog", "typer", "rich", "confluent_kafka"}


def test_solver_never_sees_a_message():
    """The sums know arrays only."""
    found = {n.split(".")[0] for m, tree in MODULES.items() if room_of(m) == "solver" for n in imports(m, tree)}
    assert not found & {"schemas", "worker", "msgspec"}


def test_edge_and_loop_do_not_import_each_other():
    """The loop knows Source and Sink, not what stands behind them; the edge knows no loop."""
    loop = imports("worker.loop", MODULES["worker.loop"]) if "worker.loop" in MODULES else {"missing"}
    edge = {n for m, tree in MODULES.items() if room_of(m) == "worker.edge" for n in imports(m, tree)}
    assert not {n for n in loop if n == "missing" or n.startswith(("worker.edge", "structlog"))}
    assert not {n for n in edge if n.startswith(("worker.loop", "worker.engine", "worker.book"))}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["time"]),
        ("from os import environ", ["os", "os.environ"]),
        ("def f():\n    import random", ["random"]),
        ("x = np.exp(y)", ["np.exp"]),
        ("import numpy\nx = numpy.random.default_rng()", ["np.random"]),
        ("x = hash('a')", ["hash()"]),
        ("@njit(fastmath=True)\ndef f(): ...", ["fastmath"]),
        ("x = math.sqrt(2)", []),
    ],
)
def test_the_purity_test_finds_what_it_must(source, found):
    """The test above can fail."""
    assert impurities(ast.parse(source)) == found


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("schemas.codec", "import worker.settings", ["worker.settings"]),
        ("worker.book.book", "from worker.edge import recording", ["worker.edge", "worker.edge.recording"]),
        ("worker.edge.recording", "from worker import cut", ["worker.cut"]),
        ("worker.cut", "from worker.edge.recording import RecordingSource", ["worker.edge.recording"]),
        ("worker.cut", "from schemas import codec", []),
    ],
)
def test_the_arrow_test_finds_what_it_must(module, source, found):
    """The test above can fail."""
    assert against_the_arrows(module, ast.parse(source)) == found
