"""Functions that read foreign files run in child processes with limits and without secrets."""
