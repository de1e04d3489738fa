"""SQL databases: the URL, the drivers and their options, and the pool of sessions that all sinks of one share."""
