"""Settings: who wins, what is refused and how it is said."""

import inspect
import re
from decimal import Decimal
from fractions import Fraction
from typing import get_args

import pytest

from solver.solve import POLICIES
from worker import settings as module
from worker.settings import KINDS, SECTIONS, Policy, SettingError, Settings, allowed, load, settings_digest, to_toml


def test_nothing_set_gives_the_documented_defaults():
    """A worker that nobody configured is in shadow, removes most risk and settles at the bankruptcy price."""
    settings = load()
    assert settings == Settings()
    assert (settings.worker.mode, settings.decision.policy, settings.decision.settlement) == (
        "shadow",
        "risk",
        "bankruptcy",
    )
    assert settings.input.topics == {kind: [kind] for kind in KINDS}


def test_flags_win_over_environment_and_environment_over_the_file():
    """TOML file < environment < flags, key by key."""
    file = "[cut]\nwatch_ms = 1\njoint_window_ms = 1\n[pool]\nname = 'file'"
    settings = load(file, {"ADL_CUT__WATCH_MS": "2", "ADL_CUT__JOINT_WINDOW_MS": "2"}, ["cut.watch_ms=3"])
    assert (settings.cut.watch_ms, settings.cut.joint_window_ms, settings.pool.name) == (3, 2, "file")


@pytest.mark.parametrize(
    ("flag", "read"),
    [
        ("worker.start_at=end", lambda s: s.worker.start_at == "end"),
        ("worker.start_at=1760000000000", lambda s: s.worker.start_at == 1760000000000),
        ("worker.start_at=null", lambda s: s.worker.start_at is None),
        ("pool.name=7", lambda s: s.pool.name == "7"),
        ("decision.residual=none", lambda s: s.decision.residual == "none"),
        ("decision.strict_guard=true", lambda s: s.decision.strict_guard is True),
        ("decision.collar=0.1", lambda s: Fraction(s.decision.collar) == Fraction(1, 10)),
        ("decision.accounts_max=7", lambda s: s.decision.accounts_max == 7),
        ("input.topics.mark_prices=a, b", lambda s: s.input.topics["mark-prices"] == ["a", "b"]),
        ("input.topics.mark-prices=a", lambda s: s.input.topics["mark-prices"] == ["a"]),
    ],
)
def test_a_text_becomes_the_value_its_setting_wants(flag, read):
    """Environment and flags are texts; each becomes what the file would have said."""
    assert read(load(flags=[flag]))
    name, _, text = flag.partition("=")
    assert read(load(environ={"ADL_" + name.upper().replace(".", "__").replace("-", "_"): text}))


def test_decimals_of_the_file_are_exact():
    """A limit on money is not rounded through a float."""
    assert load("[decision]\ncollar = 0.1").decision.collar == Decimal("0.1")


@pytest.mark.parametrize(
    ("file", "environ", "flags", "sentence"),
    [
        ("[cut]\nwach_ms=1", {}, [], "cut.wach_ms is not a setting; did you mean watch_ms?"),
        ("[cut]\nwatch_ms='x'", {}, [], "cut.watch_ms must be milliseconds from 1 to 3,600,000, was 'x'"),
        ("[cut]\nwatch_ms=0", {}, [], "cut.watch_ms must be milliseconds from 1 to 3,600,000, was 0"),
        ("", {"ADL_CUT__WATCH": "1"}, [], "ADL_CUT__WATCH is not a setting; did you mean watch_ms?"),
        ("", {}, ["decision.collar=2"], "decision.collar must be a decimal above 0 and at most 1, or null, was 2"),
        ("", {}, ["decision.collar=nan"], "decision.collar must be a decimal above 0 and at most 1, or null, was nan"),
        ("", {}, ["decision.notional_max=-1"], "decision.notional_max must be a decimal above 0, or null, was -1"),
        (
            "",
            {},
            ["reductions.tiers=1.5"],
            f"reductions.tiers must be {allowed('reductions.tiers')}, was '1.5'",
        ),
        ("", {}, ["reductions.tiers=1:1"], "reductions.tiers ratios must be above 1, where liquidation begins, was 1"),
        ("", {}, ["reductions.tiers=1.1:2"], "reductions.tiers shares must be above 0 and at most 1, was 2"),
        ("", {}, ["reductions.tiers=1.1:0"], "reductions.tiers shares must be above 0 and at most 1, was 0"),
        ("", {}, ["reductions.tiers=1..1:1"], "reductions.tiers must be decimals, ratio:share, was '1..1:1'"),
        (
            "",
            {},
            ["reductions.tiers=1.1:0.5,1.2:1"],
            "reductions.tiers ratios must fall and shares rise from tier to tier, 1.2:1 does not",
        ),
        (
            "",
            {},
            ["reductions.tiers=1.2:0.5,1.1:0.5"],
            "reductions.tiers ratios must fall and shares rise from tier to tier, 1.1:0.5 does not",
        ),
        ("", {}, ["worker.mode=liv"], 'worker.mode must be one of "shadow", "live", was \'liv\''),
        ("", {}, ["worker.mode"], "a flag must be section.key=value, was 'worker.mode'"),
        ("[inpt]", {}, [], "inpt is not a section; did you mean input?"),
        ("pool = 3", {}, [], "pool must be a section with keys, was 3"),
        ("", {}, ["decision.strict_guard=maybe"], "decision.strict_guard must be true or false, was 'maybe'"),
        (
            "",
            {},
            ["output.adl_cuts=marks", "input.topics.mark-prices=m,marks"],
            "output.adl_cuts must be a topic of its own, marks is that of input.topics.mark-prices",
        ),
        (
            "[output]\nadl_ranks='forced-trades'",
            {},
            [],
            "output.adl_ranks must be a topic of its own, forced-trades is that of output.forced_trades",
        ),
        ("x=", {}, [], "the settings file must be TOML: Invalid value (at end of document)"),
    ],
)
def test_a_wrong_setting_says_which_and_what_is_allowed(file, environ, flags, sentence):
    """Nobody has to open the source to correct a setting."""
    with pytest.raises(SettingError) as error:
        load(file, environ, flags)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", ["ADL_DECISION", "ADL_DECISION_POLICY"])
def test_a_variable_that_names_a_section_without_two_underscores_is_refused(name):
    """It would otherwise be passed over in silence."""
    with pytest.raises(SettingError, match=f"{name} must name a section and a key"):
        load(environ={name: "1"})


def test_other_variables_of_the_environment_are_left_alone():
    """ADL_CI names no section."""
    assert load(environ={"ADL_CI": "1", "PATH": "x", "ADL": "y"}) == Settings()


def test_shown_settings_are_a_file_that_gives_them_back():
    """`adl config show` writes what `--settings` reads."""
    settings = load(flags=["decision.collar=0.25", "worker.start_at=5", "input.topics.controls=a,b"])
    assert load(to_toml(settings)) == settings


def test_the_digest_sees_what_can_change_an_output_and_nothing_else():
    """Equal values give equal digests however they were written; logging changes none."""
    base = settings_digest(load())
    assert settings_digest(load(flags=["log.level=debug"])) == base
    assert settings_digest(load(flags=["cut.watch_ms=999"])) != base
    assert settings_digest(load(flags=["decision.collar=0.10"])) == settings_digest(load("[decision]\ncollar = 0.1"))


def test_every_setting_says_what_is_allowed_and_what_wrong_values_cost():
    """Each field has a sentence for its errors and a comment above it in the source."""
    for section, cls in SECTIONS.items():
        lines = inspect.getsource(cls).splitlines()
        for field in cls.__struct_fields__:
            assert allowed(f"{section}.{field}")
            at = next(i for i, line in enumerate(lines) if re.match(rf"    {field}:", line))
            if section != "output":  # five names of topics, told by their section
                assert lines[at - 1].lstrip().startswith("#"), f"{section}.{field} has no comment"
    assert module.__doc__


def test_every_policy_of_the_solver_can_be_set_and_no_other():
    """The setting names them, because reading settings must not load the solver."""
    assert set(get_args(Policy)) == set(POLICIES)
    for policy in POLICIES:
        assert load(flags=[f"decision.policy={policy}"]).decision.policy == policy
