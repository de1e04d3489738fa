"""A bound query -> the source of one straight-line Python function -> a function over a list of messages."""

from rules.codegen.program import Program, generate

__all__ = ["Program", "generate"]
