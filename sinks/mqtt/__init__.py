"""Rows as MQTT messages: into the own broker, or over a connection to another one."""
