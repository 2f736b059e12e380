"""Run the observability stack without Docker: collector, Jaeger and Prometheus as local programs.

build [--all]                build the programs once; --all: also those that only tests need
up [--tail-sampling]         build the missing programs and run the stack until Ctrl-C
trace [ID or URL] [--svg F]  draw a trace in the terminal or as SVG; without an id the latest one
lock                         resolve the collector's Go modules after a change of its manifest
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

from tools.observe import addresses, golang, jaeger, svg, waterfall
from tools.observe.addresses import AddressError
from tools.observe.build import build, generate_sources
from tools.observe.golang import BuildError
from tools.observe.jaeger import JaegerError
from tools.observe.pins import MODULES
from tools.observe.programs import Plan
from tools.observe.stack import Stack, StackError, run_stack

# Errors for the user: the message is printed, without a traceback.
USER_ERRORS = (BuildError, AddressError, StackError, JaegerError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failure, 130 for an interrupt."""
    given = _build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        given.run(given)
    except USER_ERRORS as error:
        _report(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _build(given: argparse.Namespace) -> None:
    folder = build(_report, for_tests=given.all)
    _report(f"The programs are in {folder}.")


def _up(given: argparse.Namespace) -> None:
    at = addresses.read_addresses(os.environ)
    at.require_free()  # before a build of several minutes
    binaries = build(_report)
    with tempfile.TemporaryDirectory(prefix="llm-sse-service-observe-") as folder:
        plan = Plan(
            binaries,
            Path(folder),
            at,
            tail_sampling=given.tail_sampling,
            scrape_interval=os.environ.get("OBSERVE_SCRAPE_INTERVAL", ""),
        )
        with run_stack(plan) as stack:
            _report(_format_welcome(stack, given.tail_sampling))
            try:
                stack.watch(_report)
            except KeyboardInterrupt:
                _report("\nStopping.")


def _format_welcome(stack: Stack, tail_sampling: bool) -> str:
    at = stack.addresses
    sampled = (
        " It retains a sample of them: deploy/otelcol/tail-sampling.yaml." if tail_sampling else ""
    )
    return f"""\
All three are running, with their logs and data in {stack.plan.folder} until they stop.
  collector   {at.collector}   receives the traces.{sampled}
  Jaeger      {at.jaeger}   answers queries about them; only the container image has the web pages
  Prometheus  {at.prometheus}    scrapes http://{at.app}/metrics

Start the service, in another terminal:
  OTEL_EXPORTER_OTLP_ENDPOINT={at.collector} make run

Ask a question and show its trace (X-Trace-Id in the response is its id):
  make trace

Ctrl-C ends all three."""


def _trace(given: argparse.Namespace) -> None:
    url = addresses.read_addresses(os.environ).jaeger
    trace = jaeger.find_trace(url, given.trace)
    if given.svg:
        given.svg.write_text(svg.draw(trace), encoding="utf-8")
        _report(f"{given.svg} shows trace {trace.trace_id}.")
        return
    width = shutil.get_terminal_size((120, 24)).columns
    sys.stdout.write(waterfall.draw(trace, width, colour=sys.stdout.isatty()) + "\n")


def _lock(_: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Without --skip-get-modules the builder writes and tidies the two files.
        sources = generate_sources(golang.find_go(), Path(folder), "--verbose")
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(sources / name, MODULES / name)
    _report(f"{MODULES} is up to date.")


def _build_parser() -> argparse.ArgumentParser:
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


def _report(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _interrupt(*_: object) -> None:
    # Handle SIGTERM like Ctrl-C: stop the programs in order and remove the folders.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
