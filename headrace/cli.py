"""The command line: arguments in, exit status out. It holds no logic of its own.

Exit status: 0 done, 1 something is wrong (one clear message on standard error), 2 wrong usage, 130 interrupted. No
traceback ever reaches the user; ``--debug`` shows where an unexpected error came from. Commands are imported when
they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from headrace.shadowing import complaint

DEFAULT_CONFIG: Final = "headrace.toml"
INTERRUPTED: Final = 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``handler``, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="An MQTT broker whose messages run through SQL rules into databases and queues.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="log everything and show where errors come from")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = _command(commands, "run", "run the service; SIGTERM drains and stops it, SIGHUP reloads it", _run)
    _add_config(run)

    check = _command(commands, "check", "check the configuration and all rules, and list every error", _check)
    _add_config(check)
    check.add_argument("--connect", action="store_true", help="then try every connection and every sink")
    check.add_argument(
        "--timeout",
        type=_duration,
        default="10s",
        metavar="DURATION",
        help="how long one of them may take to answer (default: %(default)s)",
    )

    config = _command(commands, "config", "print the configuration's JSON Schema", _config)
    config.add_argument("--schema", action="store_true", required=True, help="the JSON Schema of headrace.toml")

    evaluate = _command(commands, "eval", "run one SELECT over one message; rows as JSON lines", _eval)
    evaluate.add_argument("sql", nargs="?", help="the statement")
    evaluate.add_argument("--topic", default="t", help="the message's topic (default: %(default)s)")
    evaluate.add_argument("--payload", default="", help="the message's payload, a text")
    evaluate.add_argument("--clientid", help="who published it")
    evaluate.add_argument("--username", help="the publisher's user name")
    evaluate.add_argument("--qos", type=int, choices=(0, 1, 2), default=0, help="the message's QoS")
    evaluate.add_argument(
        "--jsonl",
        action="store_true",
        help='read {"id":..., "sql":..., "input":{...}} lines from standard input and answer each with one line',
    )
    evaluate.add_argument(
        "--drop-missing", action="store_true", help='leave missing values out instead of writing "undefined"'
    )

    test = _command(commands, "test", "run the tests of rules (*.test.toml)", _test)
    test.add_argument("path", nargs="*", help="test files, or folders that hold some (default: the present one)")
    test.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help=f"configuration whose rules and sinks count (default: the nearest {DEFAULT_CONFIG} above a test file)",
    )
    test.add_argument("-k", dest="word", metavar="NAME", help="only tests whose name has this in it")
    test.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML as well")
    test.add_argument("--watch", action="store_true", help="run again when a test or a rule changes, until Ctrl-C")

    fmt = _command(commands, "fmt", "format rule files; comments and meaning stay", _fmt)
    fmt.add_argument(
        "path",
        nargs="*",
        help="rule files, folders that hold some, or - for standard input (default: those of the configuration)",
    )
    fmt.add_argument("--check", action="store_true", help="change nothing, exit 1 where something would be changed")
    fmt.add_argument("--diff", action="store_true", help="as --check, and show the changes")
    _add_config(fmt)

    explain = _command(commands, "explain", "print the plan of every rule in some files", _explain)
    explain.add_argument(
        "file", nargs="*", help="rule files, - for standard input (default: those of the configuration)"
    )
    explain.add_argument("--code", action="store_true", help="the generated Python instead")
    _add_config(explain)

    users = _command(commands, "users", "manage a password file", None)
    actions = users.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _command(actions, "add", "add a user or give one a new password", _users_add)
    add.add_argument("name")
    add.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    delete = _command(actions, "del", "remove a user", _users_del)
    delete.add_argument("name")
    show = _command(actions, "list", "list the users", _users_list)
    for action in (add, delete, show):
        action.add_argument("--file", help="the password file (default: that of [auth.password_file])")
        _add_config(action)

    _command(commands, "version", "print the version", _version)
    return parser


Handler = Callable[[argparse.Namespace], int]


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_text: str,
    handler: Handler | None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
    if handler is not None:
        parser.set_defaults(handler=handler)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (default: %(default)s)"
    )


def _duration(text: str) -> float:
    """Seconds; an argparse error that names the units otherwise."""
    from core.settings import Duration

    try:
        return Duration.parse(text).seconds
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(arguments: argparse.Namespace) -> int:
    from headrace.process import run

    return run(arguments.config, debug=arguments.debug)


def _check(arguments: argparse.Namespace) -> int:
    from headrace.commands import check

    return check(arguments.config, arguments.timeout if arguments.connect else None)


def _config(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - the only thing it does so far
    from headrace.schema import print_schema

    return print_schema()


def _eval(arguments: argparse.Namespace) -> int:
    from headrace.evaluation import evaluate_lines, evaluate_one

    if arguments.jsonl:
        if arguments.sql is not None:
            return _usage("eval --jsonl takes its statements from standard input, not from the command line")
        return evaluate_lines(sys.stdin.buffer, sys.stdout.buffer, drop_missing=arguments.drop_missing)
    if arguments.sql is None:
        return _usage("eval needs a statement, or --jsonl")
    columns = {name: getattr(arguments, name) for name in ("topic", "payload", "clientid", "username", "qos")}
    present = {name: value for name, value in columns.items() if value is not None}
    return evaluate_one(arguments.sql, present, sys.stdout.buffer, drop_missing=arguments.drop_missing)


def _test(arguments: argparse.Namespace) -> int:
    from headrace.ruletests.command import test

    return test(
        arguments.path, arguments.config, word=arguments.word, junit_file=arguments.junit, watch=arguments.watch
    )


def _fmt(arguments: argparse.Namespace) -> int:
    from headrace.formatting import format_files

    return format_files(arguments.path, arguments.config, check=arguments.check, diff=arguments.diff)


def _explain(arguments: argparse.Namespace) -> int:
    from headrace.commands import explain

    return explain(arguments.file, arguments.config, code=arguments.code)


def _users_add(arguments: argparse.Namespace) -> int:
    from headrace import users

    return users.add(arguments.name, arguments.file, arguments.config, from_stdin=arguments.password_stdin)


def _users_del(arguments: argparse.Namespace) -> int:
    from headrace import users

    return users.delete(arguments.name, arguments.file, arguments.config)


def _users_list(arguments: argparse.Namespace) -> int:
    from headrace import users

    return users.show(arguments.file, arguments.config)


def _version(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every handler gets them
    from headrace.version import installed_version

    print(f"headrace {installed_version()}")
    return 0


def _usage(message: str) -> int:
    sys.stderr.write(f"headrace: {message}\n")
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stopped:  # argparse has printed the help or what is wrong
        return stopped.code if isinstance(stopped.code, int) else 2
    handler: Handler | None = _version if arguments.version else getattr(arguments, "handler", None)
    if handler is None:
        parser.print_help(sys.stderr)
        return 2
    if foreign := complaint():
        sys.stderr.write(f"headrace: {foreign}\n")
        return 1
    try:
        status = _guarded(handler, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _guarded(handler: Handler, arguments: argparse.Namespace) -> int:
    from core.errors import HeadraceError

    try:
        return handler(arguments)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: a user gets a sentence, not a stack
        if arguments.debug:
            import traceback

            traceback.print_exc()
        sys.stderr.write(
            f"headrace: unexpected {type(error).__name__}: {error} (a defect; --debug shows where it happened)\n"
        )
    return 1
