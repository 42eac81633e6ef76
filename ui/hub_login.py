"""With which login the page speaks to the Hub, for the visitor of the event at hand. Tokens stay in this process.

Without logins the visitor is the operator, and this machine's login is his (`hf auth login`, or HF_TOKEN). On a Space
it is the visitor's own, which he gave when he signed in. Visitors with accounts of this page have none: they may pull
what is public, and push only where the operator lends them his with POINTSMITH_LEND_LOGIN=1.
"""

from __future__ import annotations

import os

from gradio.context import LocalContext

from ..core.errors import UserError
from ..core.hub.client import Hub
from .access import Access

LEND = "POINTSMITH_LEND_LOGIN"


def reading_hub(access: Access) -> Hub:
    """Return the Hub as this visitor may read it."""
    if access.door == "open":
        return Hub()
    return Hub(_visitors_token() or False) if access.door == "oauth" else Hub(False)


def writing_hub(access: Access) -> Hub:
    """Return the Hub as this visitor may write to it. UserError where he has no login for it."""
    if access.door == "accounts":
        if os.environ.get(LEND) != "1":
            raise UserError(
                "Accounts of this page have no login for the Hub",
                remedy=f"Download the adapter and push it yourself; or the operator lends his login with {LEND}=1",
            )
        return Hub()
    if access.door == "oauth":
        token = _visitors_token()
        if token is None:
            raise UserError("You are not signed in with Hugging Face", remedy="Sign in at the top of the page")
        return Hub(token)
    return Hub()


def _visitors_token() -> str | None:
    """Return the token that Gradio keeps in the visitor's session, None for one who is not signed in."""
    from gradio.oauth import _get_valid_oauth_info_from_session  # what Gradio's own OAuthToken is made from

    asking = LocalContext.request.get(None)
    request = getattr(asking, "request", None)
    scope = getattr(request, "scope", None) or {}
    info = _get_valid_oauth_info_from_session(dict(scope.get("session") or {}))
    token = info.get("access_token") if info else None
    return token if isinstance(token, str) else None
