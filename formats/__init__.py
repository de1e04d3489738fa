"""Payload bytes <-> values: one file per codec, each pure. MQTT's own wire format lives in ``broker``."""
