"""The http sink: rows as requests."""
