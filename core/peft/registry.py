"""The methods by name. Adding a method is one file and its name in this union."""

from __future__ import annotations

from typing import Annotated, Union

from pydantic import Field

from .dapt import DAPTConfig
from .full import FullConfig
from .probe import ProbeConfig

MethodUnion = Annotated[Union[DAPTConfig, ProbeConfig, FullConfig], Field(discriminator="kind")]
