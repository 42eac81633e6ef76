"""How long the queue waits for what: lease, polls, graces and the retry budget, in one place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Timing:
    """All in seconds, except `budget` (attempts). Tests shorten them; nothing else should need to."""

    lease: float = 15.0
    """A run whose lease was not renewed for so long is taken from its worker."""
    renew: float = 3.0
    poll: float = 0.1
    """How often a supervisor looks at its trainer."""
    watch: float = 0.2
    """How often a supervisor looks for a cancel wish and ships new events."""
    cancel_grace: float = 0.5
    """A cancelled trainer may tidy up for so long; checkpoints are renamed into place, so killing it is safe."""
    drain_grace: float = 2.2
    """A trainer that is sent back to the queue may finish its step and write a checkpoint for so long."""
    transfer_grace: float = 30.0
    """A run that is sent back to the queue may still send its last checkpoint to the artefact store for so long."""
    stall: float = 3600.0
    """A trainer that said nothing for so long hangs: it is killed and the run tried again."""
    reap: float = 1.0
    resend: float = 2.0
    """A run may wait so long without any hint in the broker before the hint is sent again."""
    keep_streams: float = 600.0
    """So long after its end a run's events stay in Redis; then its folder alone has them."""
    tidy: float = 10.0
    """How often a sweeper looks for what can be put away."""
    budget: int = 3
    """A run that was lost so often in a row without a new checkpoint has failed."""

    @classmethod
    def remote(cls) -> Timing:
        """For a Redis across a network, where a pause of some seconds means nothing."""
        return cls(lease=60.0, renew=10.0)

    def to_json(self) -> str:
        """One line that `from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Timing:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
