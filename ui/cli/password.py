"""`pointsmith password`: an account's line for the file that POINTSMITH_AUTH or --auth names."""

from __future__ import annotations

import click


@click.command()
@click.argument("name")
def password(name: str) -> None:
    """Ask for a password, twice, and print NAME:HASH.

    \b
    Example:
      pointsmith password ada >> accounts && pointsmith serve --auth accounts
    """
    from ..accounts import Accounts

    secret = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    account = Accounts.read([f"{name}:{secret}"])
    click.echo(f"{name}:{account.hashes[name]}")
