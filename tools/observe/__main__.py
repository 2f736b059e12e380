"""`python -m tools.observe …`: the observability stack as plain programs, without Docker.

build [--all]                build the programs, once; --all: those for the tests too
up [--tail-sampling]         build what is missing, and run them until Ctrl-C
trace [ID or URL] [--svg F]  show a trace in the terminal; without an id the latest
lock                         resolve the collector's modules anew, after a change of its manifest
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.observe import golang, jaeger, places, svg, waterfall
from tools.observe.build import build, generated
from tools.observe.golang import Unbuildable
from tools.observe.jaeger import Unanswered
from tools.observe.pins import MODULES
from tools.observe.places import BadPlace
from tools.observe.programs import Plan
from tools.observe.stack import Broken, Stack, running

# One sentence each, for people: what they say is printed and nothing else.
EXPECTED = (Unbuildable, BadPlace, Broken, Unanswered)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 1 when it could not be done."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        given.run(given)
    except EXPECTED as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _build(given: argparse.Namespace) -> None:
    folder = build(_tell, all_of_them=given.all)
    _tell(f"The programs are in {folder}.")


def _up(given: argparse.Namespace) -> None:
    at = places.from_environment(os.environ)
    at.require_free()  # before minutes of building
    binaries = build(_tell)
    with tempfile.TemporaryDirectory(prefix="llm-sse-service-observe-") as folder:
        plan = Plan(
            binaries,
            Path(folder),
            at,
            tail_sampling=given.tail_sampling,
            scrape_interval=os.environ.get("OBSERVE_SCRAPE_INTERVAL", ""),
        )
        with running(plan) as stack:
            _tell(_welcome(stack, given.tail_sampling))
            try:
                stack.watch(_tell)
            except KeyboardInterrupt:
                _tell("\nStopping.")


def _welcome(stack: Stack, tail_sampling: bool) -> str:
    at = stack.at
    sampled = (
        " It keeps a share of them: deploy/otelcol/tail-sampling.yaml." if tail_sampling else ""
    )
    return f"""\
All three run, with their logs and data in {stack.plan.folder} until they end.
  collector   {at.collector}   takes the traces.{sampled}
  Jaeger      {at.jaeger}   answers questions about them; its pages are only in the container
  Prometheus  {at.prometheus}    asks http://{at.app}/metrics

Start the service, in another terminal:
  OTEL_EXPORTER_OTLP_ENDPOINT={at.collector} make run

Ask it something, and look at the trace of it (X-Trace-Id in the response names it):
  make trace

Ctrl-C ends all three."""


def _trace(given: argparse.Namespace) -> None:
    url = places.from_environment(os.environ).jaeger
    trace = jaeger.find(url, given.trace)
    if given.svg:
        given.svg.write_text(svg.draw(trace), encoding="utf-8")
        _tell(f"{given.svg} shows trace {trace.trace_id}.")
        return
    width = shutil.get_terminal_size((120, 24)).columns
    sys.stdout.write(waterfall.draw(trace, width, colour=sys.stdout.isatty()) + "\n")


def _lock(_: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Without --skip-get-modules: the builder then writes and tidies the two files.
        sources = generated(golang.find(), Path(folder), "--verbose")
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(sources / name, MODULES / name)
    _tell(f"{MODULES} is up to date.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.observe", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="build | up | trace | lock")
    command = commands.add_parser("build")
    command.add_argument("--all", action="store_true")
    command.set_defaults(run=_build)
    command = commands.add_parser("up")
    command.add_argument("--tail-sampling", action="store_true")
    command.set_defaults(run=_up)
    command = commands.add_parser("trace")
    command.add_argument("trace", nargs="?", default="", metavar="ID or URL")
    command.add_argument("--svg", type=Path, metavar="FILE")
    command.set_defaults(run=_trace)
    commands.add_parser("lock").set_defaults(run=_lock)
    return parser


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _interrupt(*_: object) -> None:
    # As Ctrl-C: everything is ended in order, and folders are removed.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
