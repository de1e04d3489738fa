"""Rows as records in Kafka topics."""
