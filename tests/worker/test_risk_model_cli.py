"""`adl risk-model`: from a recording to a model, and from a model to words."""

import json

import numpy as np
import pytest

from schemas import RiskModel, RiskSymbol, decode, encode
from tests.worker.tape import Tape
from tests.worker.test_cli import adl
from worker.edge.jsonlines import write_records
from worker.risk import Risk


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Four hours of marks of two symbols, a third that stands still, and what is no mark."""
    rng = np.random.default_rng(1)
    moves = 0.001 * (rng.normal(size=(240, 1)) + 0.5 * rng.normal(size=(240, 2)))
    prices = 100 * np.cumprod(1 + moves, axis=0)
    tape = Tape().instrument("A").instrument("B").raw("mark-prices", b"nonsense")
    for step, (one, other) in enumerate(prices.tolist()):
        tape.at(60_000 * (step + 1)).mark("A", f"{one:.6f}").mark("B", f"{other:.6f}").mark("C", "5")
    tape.mark("A", "0").mark("A", "1e5").raw("positions", None, b"nobody")
    path = tmp_path_factory.mktemp("marks") / "marks.jsonl"
    write_records(path, tape.records)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model that can be read by eye: A and B move as one for the larger part, C against them."""
    rows = [("A", [0.03, 0.0], 7e-4), ("B", [0.04, 0.0], 9e-4), ("C", [-0.01, 0.02], 0.0)]
    symbols = [RiskSymbol(symbol=s, loadings=b, idiosyncratic=d) for s, b, d in rows]
    path = tmp_path_factory.mktemp("model") / "model.json"
    path.write_bytes(encode(RiskModel(id="byeye", horizon_seconds=86_400, tail=4.0, symbols=symbols)) + b"\n")
    return path


def test_a_fit_writes_the_message_and_says_what_it_rests_on(capsys, recording, tmp_path):
    """One line of JSON, the same for the same recording; who is left out is named, and what could not be read."""
    out = tmp_path / "m.json"
    code, said, _ = adl(capsys, "risk-model", "fit", recording, "--out", out, "--factors", 1, "--horizon-seconds", 600)
    (model,) = decode(out.read_bytes())
    assert code == 0
    assert [row.symbol for row in model.symbols] == ["A", "B"]
    assert model.horizon_seconds == 600
    assert said.startswith(f"model {model.id}: 2 symbols, 1 factors, tail ")
    assert "left out, so the default holds: C: its mark stood still in 239 of 239 steps" in said
    assert "2 records could not be read" in said
    again = tmp_path / "again.json"
    facts = json.loads(
        adl(capsys, "risk-model", "fit", recording, "--out", again, "--factors", 1, "--horizon-seconds", 600, "--json")[
            1
        ]
    )
    assert again.read_bytes() == out.read_bytes()
    assert (facts["returns"], facts["refused"]) == ({"A": 239, "B": 239, "C": 239}, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--step-seconds", 7200], "no symbol has what a fit needs"),
        (["--tail", "fat"], "--tail must be a number or gaussian, was 'fat'"),
        (["--tail", "1"], "tail must be between 1.5 and 1,000.0"),
        (["--horizon-seconds", 10**9], "horizon_seconds must be between 1 and"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence_and_no_file(capsys, recording, tmp_path, arguments, sentence):
    """Exit code 2."""
    out = tmp_path / "m.json"
    code, said, err = adl(capsys, "risk-model", "fit", recording, "--out", out, *arguments)
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert sentence in err
    assert not out.exists()


def test_a_model_is_shown_in_words_a_committee_knows(capsys, file):
    """The digest is that of the decisions; volatility is the covariance's, twice the scale's square at four degrees."""
    code, said, _ = adl(capsys, "risk-model", "show", file)
    (model,) = decode(file.read_bytes())
    risk = Risk()
    risk.set(model)
    assert code == 0
    assert f"digest {risk.model_digest}: 3 symbols, 2 factors, tail 4.0, horizon 86,400 s" in said
    words = json.loads(adl(capsys, "risk-model", "show", file, "--json")[1])
    a = words["symbols"][0]
    assert (a["scale"], a["common"]) == (pytest.approx(0.04), pytest.approx(0.5625))
    assert a["volatility"] == pytest.approx(0.04 * 2**0.5)
    assert a["volatility_year"] == pytest.approx(0.04 * 2**0.5 * 365**0.5)
    assert words["correlations"]["B"] == pytest.approx([1.0, 0.6, -0.04 * 0.01 / (0.05 * 0.0005**0.5)])
    assert words["scenarios"][0] == {"factor": "1 up", "moves": {"A": 0.12, "B": 0.16, "C": -0.04}}
    assert words["chance"] == pytest.approx(0.008065, rel=1e-3)  # of a Student's t with 4 beyond 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"{}", "must hold a risk model"), (b'{"type":"InsuranceFund","fund_id":"a","balance":"1"}', "nothing else")],
)
def test_a_file_that_is_no_model_cannot_be_shown(capsys, tmp_path, content, sentence):
    """Exit code 3, as for any file that cannot be read; without a file there must be a topic."""
    path = tmp_path / "m.json"
    assert adl(capsys, "risk-model", "show", path)[0] == 3
    path.write_bytes(content)
    code, _, err = adl(capsys, "risk-model", "show", path)
    assert (code, sentence in err) == (3, True)
    assert adl(capsys, "risk-model", "show")[0] == adl(capsys, "risk-model", "show", path, "--topic")[0] == 2
