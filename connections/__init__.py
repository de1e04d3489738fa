"""The far sides that sinks, sources and lookups share: how each is reached, secured and checked."""
