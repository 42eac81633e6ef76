"""Key layouts of Point-M2AE's files on the Hub (`torch-pointcloud`): the hierarchical encoder, and what is dropped."""

from __future__ import annotations

_STAGE = r"h_encoder\.token_embed\.(\d+)\."
_POSITION = r"h_encoder\.encoder_pos_embeds\.(\d+)\."
_BLOCK = r"h_encoder\.encoder_blocks\.(\d+)\.blocks\.(\d+)\."

ENCODER: tuple[tuple[str, str | None], ...] = (
    *(
        (_STAGE + theirs + r"\.(.+)", rf"trunk.stages.\1.patch_embed.{ours}.\2")
        for theirs, ours in (
            (r"local_mlp\.lins\.0", "local.0"),
            (r"local_mlp\.norms\.0\.module", "local.1"),
            (r"local_mlp\.lins\.1", "local.3"),
            (r"global_mlp\.lins\.0", "merged.0"),
            (r"global_mlp\.norms\.0\.module", "merged.1"),
            (r"global_mlp\.lins\.1", "merged.3"),
        )
    ),
    (_POSITION + r"lins\.0\.(.+)", r"trunk.stages.\1.pos_embed.0.\2"),
    (_POSITION + r"lins\.1\.(.+)", r"trunk.stages.\1.pos_embed.2.\2"),
    (_BLOCK + r"(norm[12]|attn\.qkv|attn\.proj)\.(weight|bias)", r"trunk.stages.\1.blocks.\2.\3.\4"),
    (_BLOCK + r"mlp\.lins\.0\.(.+)", r"trunk.stages.\1.blocks.\2.mlp.fc1.\3"),
    (_BLOCK + r"mlp\.lins\.1\.(.+)", r"trunk.stages.\1.blocks.\2.mlp.fc2.\3"),
    (r"norm\.(.+)", r"trunk.norm.\1"),
)

PRETRAINING: tuple[tuple[str, str | None], ...] = (
    # The norms between encoder and decoder: the published classifiers leave them behind and start a norm of their own.
    (r"h_encoder\.encoder_norms\.\d+\..+", None),
    (r"(h_decoder|decoder_pos_embeds|token_prop|decoder_norm|rec_head)\..+|mask_token", None),
)

NOT_PRETRAINED = ("trunk.norm.weight", "trunk.norm.bias")
"""Our names that the pre-training file does not have."""
