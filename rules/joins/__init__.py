"""Joins: a stream with a lookup table, and two streams. The pure operators; docs/concepts/joins.md has the rules."""
