"""The command `pointsmith`: its verbs, loaded only when called, and errors as one sentence with exit code 2."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ... import __version__
from ...core.errors import UserError
from .output import terminal_output

VERBS = {
    # verb: (module beside this one, its click command, what it does)
    "serve": ("serve", "serve", "Start the page, a worker and a private Redis."),
    "password": ("password", "password", "Make a line for the file of accounts."),
    "worker": ("worker", "worker", "Start a worker that takes runs from the queue."),
    "inspect": ("inspect", "inspect", "Check a data set before it costs anything."),
    "workers": ("workers", "workers", "List the workers: where, on what, doing what."),
    "uploads": ("uploads", "uploads", "List uploaded data sets, or delete some."),
    "estimate": ("estimate", "estimate", "Say what memory and time a run would take."),
    "train": ("train", "train", "Fine-tune here and now, without queue or page."),
    "search": ("search", "search", "Search what each block should have, and how much (NOAH)."),
    "evaluate": ("evaluate", "evaluate", "Score an adapter on labelled clouds."),
    "predict": ("predict", "predict", "Classify clouds with an adapter."),
    "fewshot": ("fewshot", "fewshot", "Run the folds of a few-shot task and report their mean."),
    "pretrain": ("pretrain", "pretrain", "Pre-train a backbone on unlabelled clouds."),
    "import": ("importing", "import_", "Turn a published checkpoint into an adapter."),
    "push": ("push", "push", "Publish an adapter on the Hugging Face Hub."),
    "pull": ("pull", "pull", "Fetch an adapter from the Hub, or list those that are here."),
    "verify": ("verify", "verify", "Score a pushed adapter again and compare it with its card."),
    "space": ("space", "space", "Make a demo Space of adapters, and push it."),
    "export": ("export", "export", "Write an adapter with its backbone as one file for other programs."),
    "merge": ("merge", "merge", "Fold an adapter into its backbone for deployment."),
    "vtab": ("vtab", "vtab", "Train the tasks of VTAB-1k and report the means of its groups."),
    "sweep": ("sweep", "sweep", "Run every combination of methods, data, seeds and settings."),
    "submit": ("runs", "submit", "Put a run into the queue of a running service."),
    "runs": ("runs", "runs", "List the service's runs, show or follow one."),
    "cancel": ("runs", "cancel", "Cancel a queued or running run."),
    "backbones": ("lists", "backbones", "List the pre-trained transformers and where their weights lie."),
    "fetch": ("fetch", "fetch", "Fetch the weights of a backbone to this disk."),
    "methods": ("methods", "methods", "List the methods with their trainable parameters."),
    "bench": ("bench", "bench", "Measure speed and memory beside those of peers."),
    "datasets": ("lists", "datasets", "List the kinds of data sets and their settings."),
    "recipes": ("recipes", "recipes", "List ready-made runs, or print one."),
}
# Causes outside the program: the disk, permissions, the path. Anything else is a bug and keeps its traceback.
_OUTSIDE = {errno.EACCES, errno.EDQUOT, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOSPC, errno.ENOTDIR, errno.EROFS}


class Refused(click.ClickException):
    """A user's mistake: one line on stderr and exit code 2."""

    exit_code = 2

    def format_message(self) -> str:
        return " ".join(self.message.split())


class Verbs(click.Group):
    """A group that imports a verb's module when that verb is called, so that `--help` needs none of them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with terminal_output():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, command, _ = VERBS[cmd_name]
        return getattr(import_module(f".{module}", __package__), command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, about) for verb, (_, _, about) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Refused(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(130)
        except OSError as error:
            if error.errno not in _OUTSIDE:
                raise
            raise Refused(f"{error.filename or 'A file'}: {error.strerror}.") from error


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command has its own --help with an example.",
)
@click.version_option(__version__, prog_name="pointsmith")
def cli() -> None:
    """Fine-tune pre-trained 3D point-cloud transformers with tiny adapters."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (default: the process's own) and exit with its code."""
    cli.main(args=list(arguments) if arguments is not None else None, prog_name="pointsmith")


if __name__ == "__main__":
    main()
