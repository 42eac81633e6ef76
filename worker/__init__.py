"""The running: Celery app, run store, supervision, embedded Redis. Knows no Gradio."""
