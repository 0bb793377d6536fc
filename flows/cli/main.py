"""`nightshift`: the command line. Commands import what they need when they run, so that --help answers at once."""

from __future__ import annotations

import sys

import typer

from flows.cli import (
    clean,
    data,
    deploy,
    evaluate,
    feedback,
    generate,
    models,
    nights,
    plan,
    profile,
    releases,
    scores,
    serve,
    stack,
    study,
    sweep,
    train,
    watch,
)
from infra.errors import NightshiftError

app = typer.Typer(
    name="nightshift",
    help="Retrain text-to-SQL adapters every night; promote one to Production only when it is proven better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended
_debug = False


@app.callback()
def _options(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    global _debug
    _debug = debug


nights.register(app)
train.register(app)
data.register(app)
generate.register(app)
profile.register(app)
scores.register(app)
evaluate.register(app)
releases.register(app)
watch.register(app)
models.register(app)
feedback.register(app)
serve.register(app)
stack.register(app)
deploy.register(app)
plan.register(app)
study.register(app)
clean.register(app)
sweep.register(app)


def main() -> None:
    """Run the command line: a known failure is one line on stderr and its own exit code, never a traceback."""
    try:
        app()
    except NightshiftError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer ends without a word
            _fail("interrupted; a night goes on where it stopped when the same command is run again", INTERRUPTED)
        raise
    except Exception as error:
        first = str(error).strip().splitlines()
        _fail(f"{type(error).__name__}: {first[0] if first else 'no message'} (--debug shows where)", 1)


def _fail(message: str, code: int) -> None:
    if _debug:
        import traceback

        traceback.print_exc()
    print(f"nightshift: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)
