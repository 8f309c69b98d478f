"""Stopping anywhere and going on gives the same bytes; a log that is not the one it was stops the pool."""

import os
import random

import msgspec
import pytest

from tests.worker.random_run import SEED, Timely, outputs_of, source_of
from tests.worker.random_tape import random_log
from worker.edge.recording import (
    COMMITS_FILE,
    OUTPUTS_FILE,
    RecordingSink,
)
from worker.loop import StateLostError, run

STOPS = 100


class KilledError(Exception):
    """The process is gone."""


class Mortal(RecordingSink):
    """A sink whose process dies around its n-th commit: before, after, or with a part of it in the files."""

    def __init__(self, folder, at_commit, how, share):
        super().__init__(folder)
        self._left, self._how, self._share = at_commit, how, share

    def commit(self, outputs, offsets, metadata, log_time_ms):
        self._left -= 1
        if self._left:
            super().commit(outputs, offsets, metadata, log_time_ms)
            return
        if self._how == "before":
            raise KilledError
        files = self._outputs, self._commits
        sizes = [os.fstat(file.fileno()).st_size for file in files]
        super().commit(outputs, offsets, metadata, log_time_ms)
        if self._how == "in the outputs":
            os.ftruncate(files[1].fileno(), sizes[1])
        if self._how != "after":
            torn = files[self._how == "in the commit"].fileno()
            before = sizes[self._how == "in the commit"]
            os.ftruncate(torn, before + int((os.fstat(torn).st_size - before) * self._share))
        raise KilledError


HOW = ("before", "after", "in the outputs", "in the commit")


@pytest.fixture(scope="module")
def stop_log():
    """A log with fewer accounts: a hundred stops read it two hundred times."""
    return random_log(SEED + 2, accounts=80)


@pytest.fixture(scope="module")
def stop_bytes(stop_log, settings, tmp_path_factory):
    return outputs_of(stop_log, settings, tmp_path_factory.mktemp("stop"))


@pytest.fixture(scope="module")
def commits(stop_log, settings, tmp_path_factory):
    """How many commits an undisturbed run makes, by batch size."""
    counts = {}
    for batch in (1, 4, 20, 60):
        folder = tmp_path_factory.mktemp("commits")
        outputs_of(stop_log, settings, folder, Timely, batch_max=batch)
        counts[batch] = len((folder / COMMITS_FILE).read_bytes().splitlines())
    assert counts[1] > 100
    return counts


@pytest.mark.parametrize("stop", range(STOPS))
def test_stopping_anywhere_and_going_on_gives_the_same_bytes(stop, stop_log, settings, stop_bytes, commits, tmp_path):
    """Around any commit: before it, after it, in the middle of either file; the batches after the stop are others."""
    rng = random.Random(stop)
    batch = rng.choice(sorted(commits))
    sink = Mortal(tmp_path, rng.randint(1, commits[batch]), HOW[stop % len(HOW)], rng.random())
    with sink, pytest.raises(KilledError):
        run(Timely(stop_log, batch_max=batch), sink, settings)
    batch = rng.choice((*commits, 1000))
    assert outputs_of(stop_log, settings, tmp_path, rng.choice((Timely, source_of)), batch_max=batch) == stop_bytes


@pytest.mark.parametrize("how", HOW)
def test_a_process_that_dies_again_and_again_comes_to_the_same_end(how, stop_log, settings, stop_bytes, tmp_path):
    """Each life reads other batches and dies at its fifth commit."""
    deaths = 0
    while True:
        source = Timely(stop_log, batch_max=1 + deaths % 7)
        try:
            with Mortal(tmp_path, 5, how, 0.5) as sink:
                run(source, sink, settings)
            break
        except KilledError:
            deaths += 1
    assert deaths > 5
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == stop_bytes


def test_a_run_on_a_finished_folder_adds_nothing(stop_log, settings, stop_bytes, tmp_path):
    """Everything was said; the folder's outputs stay as they are."""
    outputs_of(stop_log, settings, tmp_path)
    assert outputs_of(stop_log, settings, tmp_path, batch_max=11) == stop_bytes


def test_a_log_that_is_not_the_one_it_was_stops_the_pool(stop_log, settings, tmp_path):
    """A mark that changed behind our back is found by the state digest, an end that is missing by its cut."""
    outputs_of(stop_log, settings, tmp_path)
    place = max(i for i, record in enumerate(stop_log) if record.key == b"BTC")
    record = stop_log[place]
    said = msgspec.json.decode(record.value)
    other = msgspec.structs.replace(record, value=msgspec.json.encode(said | {"mark_price": "1"}))
    with pytest.raises(StateLostError, match="state digest"):
        outputs_of([*stop_log[:place], other, *stop_log[place + 1 :]], settings, tmp_path)
    with pytest.raises(StateLostError, match="the inputs end before cut"):
        outputs_of(stop_log[: len(stop_log) // 2], settings, tmp_path)
