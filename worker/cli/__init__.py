"""The command `adl`: settings -> edge -> loop, and nothing else; one file per command.

Exit codes are the closed list of worker/edge/exits.py.
"""

import gc
import traceback

import typer
from confluent_kafka import KafkaException

from worker.cli.check import check
from worker.cli.common import end_of, fail
from worker.cli.compare import compare_command
from worker.cli.config import config_show, version
from worker.cli.demo import demo
from worker.cli.explain import explain_command
from worker.cli.ladder import ladder_command
from worker.cli.publish import publish
from worker.cli.record import record
from worker.cli.replay import replay
from worker.cli.risk_model import fit_command, publish_command, show_command
from worker.cli.run import run_command
from worker.cli.snapshot import diff, ls, verify
from worker.cli.tail import tail
from worker.cli.topics import acls_command, check_command, create
from worker.cli.warmup import warmup
from worker.edge.exits import EdgeError, Exit
from worker.edge.jsonlines import RecordingError
from worker.edge.secrets import masked
from worker.explain import NotFoundError
from worker.settings import SettingError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Auto-deleveraging.")
app.command()(demo)
app.command(name="run")(run_command)
app.command()(replay)
app.command()(check)
app.command(name="compare")(compare_command)
app.command(name="explain")(explain_command)
app.command(name="ladder")(ladder_command)
app.command()(tail)
app.command()(record)
app.command()(publish)
app.command()(warmup)
topics = typer.Typer(no_args_is_help=True, help="The pool's topics.")
topics.command()(create)
topics.command(name="check")(check_command)
topics.command(name="acls")(acls_command)
app.add_typer(topics, name="topics")
risk_model = typer.Typer(no_args_is_help=True, help="How prices move together, for the policy `risk`.")
risk_model.command(name="fit")(fit_command)
risk_model.command(name="show")(show_command)
risk_model.command(name="publish")(publish_command)
app.add_typer(risk_model, name="risk-model")
snapshot = typer.Typer(no_args_is_help=True, help="States kept beside the log.")
snapshot.command()(ls)
snapshot.command()(verify)
snapshot.command()(diff)
app.add_typer(snapshot, name="snapshot")
config = typer.Typer(no_args_is_help=True, help="What is set.")
config.command(name="show")(config_show)
app.add_typer(config, name="config")
app.command()(version)


def main() -> None:
    """Runs the command line; expected errors are one sentence on standard error and an exit code."""
    # Nothing we keep in numbers (records, legs) is part of a cycle, and looking for cycles took half of a long replay.
    gc.set_threshold(1_000_000, 50, 100)
    try:
        app()
    except (SettingError, NotFoundError) as error:
        fail(str(error), Exit.USAGE)
    except RecordingError as error:
        fail(str(error), Exit.UNREADABLE)
    except EdgeError as error:
        fail(str(error), error.exit)
    except KafkaException as error:
        fail(error.args[0].str(), end_of(error))
    except Exception:  # noqa: BLE001  our bug, told as Python tells it but for the secrets that it may quote
        typer.echo(masked(traceback.format_exc()), err=True, nl=False)
        raise SystemExit(1) from None
