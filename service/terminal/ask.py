"""`ask`: one question, or a chat."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from service.terminal.answering import Answering, ExitCode
from service.terminal.background_loop import BackgroundLoop
from service.terminal.feed import AskedQuestion, QuestionService
from service.terminal.outputs import choose_output
from service.terminal.question_text import is_utf8, print_notice
from service.terminal.run_view import WatchedRun
from service.terminal.signals import was_terminated


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """Options of `ask`: `question` has those of every question of a chat."""

    question: AskedQuestion
    resume: str | None = None
    as_json: bool = False
    waits_for_end: bool = False
    is_strict: bool = False


def answer(loop: BackgroundLoop, service: QuestionService, options: AskOptions) -> ExitCode:
    """Show the answer of one question, or of the run to resume."""
    return _show(loop, service, options).code


def chat(loop: BackgroundLoop, service: QuestionService, options: AskOptions) -> ExitCode:
    """Answer the lines that the user types, in one conversation, until /quit or Ctrl-D."""
    _enable_line_editing()
    print_notice("Ask a question. /help lists the commands; Ctrl-D ends the chat.")
    while (line := _read_line()) is not None:
        command, _, argument = line.partition(" ")
        if command == "/quit":
            break
        if command.startswith("/") and len(command) > 1:
            options = replace(
                options, question=_change(options.question, command, argument.strip())
            )
        elif not is_utf8(line):
            print_notice("The line is no UTF-8 text.")
        elif line:
            shown = _show(
                loop, service, replace(options, question=replace(options.question, text=line))
            )
            options = replace(
                options, question=replace(options.question, conversation_id=shown.conversation_id)
            )
            if was_terminated() or shown.code == ExitCode.BROKEN_PIPE:
                return shown.code
    return ExitCode.ANSWERED


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer that was shown, and its conversation."""

    code: ExitCode
    conversation_id: str | None


def _show(loop: BackgroundLoop, service: QuestionService, options: AskOptions) -> ShownAnswer:
    view = WatchedRun()
    output = choose_output(view, as_json=options.as_json, waits_for_end=options.waits_for_end)

    async def work() -> Answering:
        feed = service.resume(options.resume) if options.resume else service.ask(options.question)
        return Answering(feed, view, output, is_strict=options.is_strict)

    answering = loop.run(work())
    code = loop.run(answering.run(), answering.interrupt)
    conversation_id = view.conversation_id or options.question.conversation_id
    return ShownAnswer(code, conversation_id)


_HELP = """\
/ensemble NAME   ask another ensemble or agent; without NAME the default one
/new             start a new conversation
/quit            end the chat, as Ctrl-D does
Ctrl-C stops an answer."""


def _change(question: AskedQuestion, command: str, argument: str) -> AskedQuestion:
    """Return the options that a command of the chat leaves."""
    if command == "/ensemble":
        return replace(question, ensemble=argument or None)
    if command == "/new":
        return replace(question, conversation_id=None)
    if command != "/help":
        print_notice(f"There is no command {command}.")
    print_notice(_HELP)
    return question


def _read_line() -> str | None:
    """Return the next line, None at the end of the input; Ctrl-C empties the line."""
    while True:
        try:
            return _prompt().strip()
        except EOFError:
            print_notice("")
            return None
        except UnicodeDecodeError:
            print_notice("The line is no UTF-8 text.")
        except KeyboardInterrupt:
            if was_terminated():
                raise
            print_notice("")


def _prompt() -> str:
    """Read a line; the prompt is not part of an output that is a pipe or a file."""
    if sys.stdout.isatty():
        return input("> ")
    sys.stderr.write("> ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _enable_line_editing() -> None:
    try:
        import readline  # noqa: F401  # its import gives `input` a history and keys
    except ImportError:  # on some platforms
        return
