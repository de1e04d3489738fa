"""Other brokers and device protocols, in and out. A gateway sees only its intake and its connection."""
