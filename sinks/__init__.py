"""Where rows go: delivery (batching, retry, dead letters) and one file per destination behind ``sinks.base.Sink``."""
