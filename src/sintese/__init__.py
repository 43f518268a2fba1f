"""Síntese: experiment tracking, model registry and serving for text summarization."""

__version__ = "0.1.0"
