"""Where rows go: delivery (batching, retry, dead letters) and one file per destination, each behind ``sinks.base.Sink``."""
