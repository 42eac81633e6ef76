"""The learning: models, methods, data, training and adapters. Knows no Gradio, Celery or Redis."""
