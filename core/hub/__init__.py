"""Adapters on the Hugging Face Hub: pushed in one commit, pulled at a pinned one, and verified against their card."""
