"""Each fault of the design's catalogue has a test: its docstring, or its file's, begins with the fault's number."""

import ast
import re
from pathlib import Path

import pytest

CATALOGUE = {
    "1": "crash at any step",
    "2": "commit request lost; answer lost",
    "3": "SIGKILL of the real process",
    "4": "delayed EndTxn released during the next transaction",
    "5": "all connections reset at each client call in turn",
    "6": "zombie: SIGSTOP past the transaction timeout, SIGCONT; second process with the same identity",
    "7": "transaction timeout while the solver runs",
    "8": "every retriable, abortable, fatal code of a transaction's requests",
    "9": "coordinator or leader moves, one of three brokers down",
    "10": "committed offset below the low watermark; log truncated; topic re-created",
    "11": "snapshot torn, bit-flipped, older or newer than committed, wrong schema; disk full; unreadable",
    "12": "foreign open transaction in input or output",
    "13": "repeated, reordered, missing seq",
    "14": "poison messages, 0.01 % to 100 %",
    "15": "slow broker, full producer queue, message too large",
    "16": "SIGTERM at any point",
    "17": "the same complete logs replayed with other batch sizes, fetch orders, threads, CPU flags, hash seeds",
    "17a": "live producer, records arriving late or out of order between topics",
    "18": "clock jumps",
}
NUMBERS = re.compile(r"(?:Catalogue )?((?:\d+a?)(?:(?:, | and )\d+a?)*): ")


def by_number():
    """Number -> names of the tests whose docstrings begin with it, or whose file's does."""
    found = {number: [] for number in CATALOGUE}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        whole = numbers_of(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for number in whole | numbers_of(node):
                    found.setdefault(number, []).append(f"{path.stem}::{node.name}")
    return found


def numbers_of(node):
    match = NUMBERS.match(ast.get_docstring(node) or "")
    return set(re.findall(r"\d+a?", match[1])) if match else set()


@pytest.mark.parametrize("number", CATALOGUE)
def test_each_fault_of_the_catalogue_has_a_test(number):
    """By the number that its docstring begins with."""
    assert by_number()[number], f"no test says that it makes fault {number}: {CATALOGUE[number]}"


def test_no_test_names_a_fault_that_is_not_in_the_catalogue():
    """A number that is none would hide that a test is missing."""
    assert set(by_number()) == set(CATALOGUE)
