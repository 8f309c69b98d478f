"""`adl run`: the worker on Kafka, until it is asked to stop."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import typer
from confluent_kafka import KafkaException

from worker.cli.common import Set, SettingsFile, end_of, fail, read_settings
from worker.edge.caller import clear
from worker.edge.code import code_digest, layout_digest, worker_version
from worker.edge.exits import EdgeError, Exit, StoppedError
from worker.edge.health import Health, HealthServer
from worker.edge.kafka import CLOSE_SECONDS, Pool, open_pool
from worker.edge.kafka_commit import Origin
from worker.edge.kafka_sink import KafkaSink
from worker.edge.log import log_decision
from worker.edge.secrets import client_config
from worker.edge.snapshots import Snapshots
from worker.edge.topics import identity
from worker.edge.watchdog import Watchdog
from worker.poison import PoisonedError
from worker.record import KeptWrongError
from worker.settings import Settings, state_settings_digest

if TYPE_CHECKING:
    from worker.engine import Engine, Start
    from worker.record import Partition


def run_command(settings_file: SettingsFile = None, sets: Set = None) -> None:
    """Decides on Kafka, live, until SIGTERM or SIGINT."""
    settings = read_settings(settings_file, sets)
    raise typer.Exit(run_pool(settings, _stop_by_signals()))


def _stop_by_signals() -> Callable[[], bool]:
    """Whether SIGTERM or SIGINT came; known at once, for Python calls no handler while one kernel compiles (19 s)."""
    ear, mouth = os.pipe()
    os.set_blocking(ear, False)
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    heard: list[bytes] = []

    def stop() -> bool:
        with suppress(BlockingIOError):
            heard.append(os.read(ear, 64))
        return bool(heard)

    return stop


def run_pool(
    settings: Settings,
    stop: Callable[[], bool],
    *,
    sink_class: type[KafkaSink] = KafkaSink,
    on_engine: Callable[["Engine"], None] | None = None,
) -> int:
    """Runs the pool of the settings until `stop()`; the exit code, or SystemExit with a sentence."""
    watchdog = Watchdog()
    with watchdog.unless(stop, "compiling"):  # kernels with a signature are compiled when they are imported
        from worker.loop import StateLostError, run
        from worker.warm import warm

    log = structlog.get_logger()
    health = Health(settings.health)

    def asked_to_stop() -> bool:
        health.alive()  # whoever asks is not stuck: the loop at each turn, and whatever waits for Kafka
        return stop()

    engines: list[Engine] = []

    def made(engine: "Engine") -> None:
        engines.append(engine)
        if on_engine is not None:
            on_engine(engine)

    opened: Pool | None = None
    code, sentence = Exit.HUNG, ""  # until it is known how the run ended
    try:
        try:
            with _serving(health, settings):
                with watchdog.unless(stop, "compiling"):
                    warm(health.alive)
                config = client_config(settings.kafka, os.environ)
                opened = open_pool(settings, config, watchdog=watchdog, stop=asked_to_stop, sink_class=sink_class)
                log.info("adl.opened", pool=settings.pool.name, mode=settings.worker.mode)
                report = run(
                    opened.source,
                    opened.sink,
                    settings,
                    code_digest=code_digest(settings),
                    start=start_of_pool(opened.origin),
                    refused_per_minute_max=settings.health.refused_per_minute_max,
                    stop=asked_to_stop,
                    progress=_teller(health, opened, engines),
                    on_decision=log_decision,
                    on_engine=made,
                    keeper=keeper_of(settings),
                )
                code = Exit.DONE
                log.info("adl.stopped", cuts=report.cuts, decisions=report.decisions, digest=report.state_digest)
        except StoppedError as stopped:
            code = Exit.DONE
            log.info("adl.stopped", reason=str(stopped))
        except (EdgeError, KafkaException, StateLostError, KeptWrongError, PoisonedError) as error:
            cause = _cause(error, opened)
            code, sentence = _end(cause), str(cause)
            del cause  # its frames, too
        except Exception as error:
            clear(error)
            raise
        if sentence:  # here, where no error is in hand: its frames hold the producer, which is to be destroyed
            fail(sentence, code)
    finally:
        if opened is not None:
            # What was said is committed: a client that does not close changes nothing about how the run ended.
            with watchdog.within(CLOSE_SECONDS, "close", code):
                opened.close()
        watchdog.close()
    return code


def _cause(error: Exception, opened: Pool | None) -> Exception:
    """Outputs that are new to us are no lost state where another process has opened the pool since we did."""
    if opened is None or isinstance(error, EdgeError) or _end(error) not in (Exit.STATE_LOST, Exit.KEPT_WRONG):
        return error
    try:
        opened.sink.assure()
    except EdgeError as other:
        return other
    return error


def _end(error: Exception) -> Exit:
    if isinstance(error, EdgeError):
        return error.exit
    if isinstance(error, PoisonedError):
        return Exit.POISONED
    if isinstance(error, KeptWrongError):
        return Exit.KEPT_WRONG
    return end_of(error) if isinstance(error, KafkaException) else Exit.STATE_LOST


def start_of_pool(origin: Origin) -> "Start":
    """Where deciding began when the pool first started."""
    from worker.cut import place
    from worker.engine import Start

    return Start(origin.start_ms, {place(name): offset for name, offset in origin.start.items()})


def keeper_of(settings: Settings) -> Snapshots | None:
    """What keeps states for a pool, where a folder is set."""
    snapshot = settings.snapshot
    if snapshot.folder is None:
        return None
    return Snapshots(
        Path(snapshot.folder),
        pool=identity(settings),
        code_digest=code_digest(settings),
        layout_digest=layout_digest(),
        settings_digest=state_settings_digest(settings),
        interval_ms=snapshot.interval_ms,
        keep=snapshot.keep,
    )


def _teller(health: Health, pool: Pool, engines: "list[Engine]") -> Callable[[int], None]:
    """What the loop calls each time it comes round."""
    told = False
    warned: set[Partition] = set()

    def turned(records: int) -> None:
        nonlocal told
        rebuilt = pool.source.caught_up()
        if rebuilt and not told:
            told = True
            structlog.get_logger().info("adl.ready", records=records)
        for where, ms in pool.source.ahead_ms().items():
            if where not in warned:
                warned.add(where)
                structlog.get_logger().warning(
                    "adl.clock_ahead", partition=f"{where[0]}:{where[1]}", ahead_ms=ms,
                    reason="a record has a log time of the future: what stands behind it counts as late as that",
                )  # fmt: skip
        health.turned(rebuilt=rebuilt, lag_ms=pool.source.lag_ms(), figures=engines[0].figures())

    return turned


def _serving(health: Health, settings: Settings) -> AbstractContextManager[object]:
    if settings.health.port is None:
        return nullcontext()
    facts = {"version": worker_version(), "code_digest": code_digest(settings)}
    return HealthServer(health, settings.health, facts)
