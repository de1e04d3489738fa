"""Rows into a table of a SQL database: checked against its live schema, written by the fastest way that it offers."""
