"""Unexpected errors: the log gets all of it, the client one sentence with an id by which the log can be searched."""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

_log = logging.getLogger(__name__)


class AnswerError(HTTPException):
    """An error of our own, whose sentence the client may read."""


def log_unexpected(error: BaseException) -> str:
    """Log an error with its traceback; return the sentence for the client."""
    number = secrets.token_hex(4)
    _log.error("Internal error %s", number, exc_info=error)
    return f"An internal error happened. Its details are in the server's log under {number}."


def unexpected(error: BaseException) -> gr.Error:
    """Log an error of an event; return the one that the client gets instead."""
    return gr.Error(log_unexpected(error), title="Pointsmith", print_exception=False)


def answer_neutrally(app: FastAPI) -> None:
    """Let the application's error answers carry no path, no value of the request and no text of an exception."""

    async def invalid(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": "The request does not have the form that this address expects."}, 422)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        own = isinstance(error, AnswerError) or not isinstance(error.detail, str)
        detail = error.detail if own else HTTPStatus(error.status_code).phrase
        return JSONResponse({"detail": detail}, error.status_code, error.headers)

    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": log_unexpected(error)}, 500)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, failed)
