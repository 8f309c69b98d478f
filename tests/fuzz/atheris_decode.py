"""Coverage leads the fuzzing: python -m tests.fuzz.atheris_decode [CORPUS] [-max_total_time=60]; with the group `fuzz`.

Any bytes as a record: JSON and MessagePack give messages or Refused, and what the kernel of plain records calls plain
is what msgspec reads. The kernel runs uncompiled, so that what it looks at leads too. Begins with schemas/examples.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

os.environ["NUMBA_DISABLE_JIT"] = "1"  # before numba is imported

import atheris
import msgspec

with atheris.instrument_imports(include=["schemas", "worker.book.plain"]):
    from schemas import Refused, decode
    from tests.fuzz.plain import judge

ROOT = Path(__file__).parents[2]


def told(value):
    """Asserts what the file's head says; whatever is raised is found by atheris."""
    for encoding in ("json", "msgpack"):
        with suppress(Refused):
            decode(value, encoding)
    middle = len(value) // 2
    judge([(None, value), (value[:middle], value[middle:]), (b"a", value)])


def corpus(folder):
    """Fills a folder with a record of each kind, in both encodings, as small as it can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for example in sorted((ROOT / "schemas" / "examples").glob("*.json")):
        said = json.loads(example.read_bytes())
        (folder / f"{example.stem}.json").write_bytes(msgspec.json.encode(said))
        (folder / f"{example.stem}.msgpack").write_bytes(msgspec.msgpack.encode(said))
    return str(folder)


def main():
    given = any(not word.startswith("-") for word in sys.argv[1:])
    atheris.Setup(sys.argv if given else [*sys.argv, corpus(ROOT / "build" / "fuzz")], told)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
