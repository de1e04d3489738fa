"""MQTT brokers as connections: what is said about one, and the client that talks to it."""
