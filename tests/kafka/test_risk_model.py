"""A risk model goes onto its topic by `adl risk-model publish`, and is seen there as in its file."""

import json

import pytest

from schemas import RiskModel, RiskSymbol, encode
from tests.kafka.topics import Topics
from tests.worker.test_cli import adl
from worker.record import Record
from worker.settings import to_toml


def model(name):
    return RiskModel(
        id=name, horizon_seconds=60, tail=None,
        symbols=[RiskSymbol(symbol="A", loadings=[0.1 + 0.2], idiosyncratic=1e-9)],
    )  # fmt: skip


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_the_newest_model_on_the_topic_is_the_one_in_the_file(broker, capsys, tmp_path, form):
    """In both encodings, to the last bit; without one there is one sentence; what is no model is passed over."""
    topics = Topics(broker, [])
    topic = topics.named("risk-model")
    settings = tmp_path / "settings.toml"
    settings.write_text(to_toml(topics.settings(f"format.topics.{topic}={form}")))
    code, _, err = adl(capsys, "risk-model", "show", "--topic", "--settings", settings)
    assert (code, f"there is no model on {topic}" in err) == (2, True)
    for name in ("first", "second"):
        file = tmp_path / name
        file.write_bytes(encode(model(name)))
        code, said, _ = adl(capsys, "risk-model", "publish", file, "--settings", settings)
        assert (code, said) == (0, f"model {name} is on {topic}\n")
    topics.publish([Record("risk-model", 0, 2, 0, b"main", b"nonsense"), Record("risk-model", 0, 3, 0, b"main", None)])
    shown = [
        json.loads(adl(capsys, "risk-model", "show", *where, "--settings", settings, "--json")[1])
        for where in (["--topic"], [tmp_path / "second"])
    ]
    assert shown[0] == shown[1]
    assert shown[0]["id"] == "second"
