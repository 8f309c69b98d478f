"""The examples of `solver/README.md` run, one after the other, and print what stands below them."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "solver/README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_examples_print_what_stands_below_them():
    """In the order of the page, later ones on what earlier ones have made; none is without output."""
    assert len(EXAMPLES) == PAGE.count("```python") >= 6
    session = {}
    for code, expected in EXAMPLES:
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "solver/README.md", "exec"), session)  # noqa: S102 - our own page
        assert printed.getvalue() == expected


def test_every_file_named_is_there():
    """Where the formulas are."""
    table = PAGE[PAGE.index("## Where the formulas are") :]
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", table)
    assert len(named) > 20
    assert [name for name in named if not (Path(__file__).parents[2] / "solver" / name).exists()] == []
