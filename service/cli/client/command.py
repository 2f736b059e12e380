"""The client commands: ask and top."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from service.cli.client.arguments import add_ask_options, add_top_options
from service.cli.parser import CommandParser, program_name
from service.terminal.ask import AskOptions, answer, chat
from service.terminal.background_loop import BackgroundLoop
from service.terminal.feed import AskedQuestion, AskFailed, QuestionService
from service.terminal.question_text import compose_question, has_piped_input, is_utf8
from service.terminal.remote import RemoteService
from service.terminal.signals import exit_code, install_signals, was_terminated
from service.terminal.terminal_modes import MODES
from service.terminal.top.watch import TopOptions, watch

_DEFAULT_URL = "http://localhost:8080"
_URL, _KEY = "LLM_SSE_URL", "LLM_SSE_API_KEY"


def run_client(arguments: Sequence[str]) -> int:
    """Run a client command and return its exit code."""
    command, add_options = arguments[0], _OPTIONS[arguments[0]]
    parser = CommandParser(prog=f"{program_name()} {command}")
    add_options(parser)
    options, unknown = parser.parse_known_intermixed_args(arguments[1:])
    if unknown:
        parser.refuse(unknown)
    options.url = options.url or os.environ.get(_URL)
    options.api_key = options.api_key or os.environ.get(_KEY)
    install_signals()
    try:
        _check_text(options)
        code = _COMMANDS[command](options)
        return exit_code() if was_terminated() else code
    except AskFailed as error:
        print(error, file=sys.stderr)
        return 2 if error.is_usage else 1
    except KeyboardInterrupt:  # before the run, or behind it
        MODES.restore_now()
        return exit_code()


def _check_text(options: argparse.Namespace) -> None:
    """Raise AskFailed for an argument that is not UTF-8, except for paths."""
    for value in vars(options).values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and not is_utf8(each):
                shown = each.encode(errors="backslashreplace").decode()
                raise AskFailed(f"The argument {shown} is no UTF-8 text.", is_usage=True)


def _ask(options: argparse.Namespace) -> int:
    asked = _read_question(options)
    is_chat = not asked.question.text and not asked.resume
    if is_chat and not sys.stdin.isatty():
        raise AskFailed("There is no question: add one, or pipe it in.", is_usage=True)
    use = chat if is_chat else answer
    with BackgroundLoop() as loop:
        if options.url:
            return _use_remote(loop, options, asked, use)
        from service.cli.client.standalone import use_standalone

        return use_standalone(loop, lambda service: use(loop, service, asked))


Use = Callable[[BackgroundLoop, QuestionService, AskOptions], int]


def _use_remote(
    loop: BackgroundLoop, options: argparse.Namespace, asked: AskOptions, use: Use
) -> int:
    service = RemoteService(options.url, options.api_key)
    try:
        return use(loop, service, asked)
    finally:
        loop.run(service.close())


def _read_question(options: argparse.Namespace) -> AskOptions:
    reads_stdin = has_piped_input() and not (options.no_stdin or options.resume)
    text = compose_question(options.question, options.file, reads_stdin=reads_stdin)
    if options.resume and text:
        raise AskFailed("--resume shows an existing run and takes no question.", is_usage=True)
    return AskOptions(
        question=AskedQuestion(
            text=text,
            ensemble=options.ensemble,
            conversation_id=options.conversation,
            # The panels show the ends of the agents' texts.
            stream_agents=options.stream_agents or (not options.json and sys.stdout.isatty()),
            stream_reasoning=options.reasoning,
            max_tokens=options.max_tokens,
            timeout_s=options.timeout,
        ),
        resume=options.resume,
        as_json=options.json,
        waits_for_end=options.no_stream,
        is_strict=options.strict,
    )


def _top(options: argparse.Namespace) -> int:
    shown = TopOptions(
        url=options.url or _DEFAULT_URL,
        api_key=options.api_key,
        interval_s=options.interval,
        once=options.once,
        as_json=options.json,
    )
    with BackgroundLoop() as loop:
        return watch(loop, shown)


_OPTIONS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "ask": add_ask_options,
    "top": add_top_options,
}
_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {"ask": _ask, "top": _top}
