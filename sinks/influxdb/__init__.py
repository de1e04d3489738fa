"""The influxdb sink: line protocol over HTTP."""
