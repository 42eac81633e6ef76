"""The methods by name. Adding a method is one file and its name in this union."""

from __future__ import annotations

from typing import Annotated, Union

from pydantic import Field

from .adapter import AdapterConfig
from .adapter_x import AdapterXConfig, AdaptFormerXConfig, DAPTXConfig
from .adaptformer import AdaptFormerConfig
from .bitfit import BitFitConfig, NormTuningConfig
from .dapt import DAPTConfig
from .full import FullConfig
from .idpt import IDPTConfig
from .lora import LoRAConfig
from .noah import NOAHConfig
from .prefix import PrefixConfig
from .probe import ProbeConfig
from .ssf import SSFConfig
from .vpt import VPTConfig

MethodUnion = Annotated[
    Union[
        DAPTConfig,
        DAPTXConfig,
        AdaptFormerXConfig,
        AdapterXConfig,
        IDPTConfig,
        AdaptFormerConfig,
        AdapterConfig,
        LoRAConfig,
        SSFConfig,
        VPTConfig,
        PrefixConfig,
        NOAHConfig,
        BitFitConfig,
        NormTuningConfig,
        ProbeConfig,
        FullConfig,
    ],
    Field(discriminator="kind"),
]
