"""Other device protocols in and out. A gateway sees only its hub: it publishes and it subscribes."""
