"""Rows into files: NDJSON, CSV or Parquet, in one growing file or in files that are finished one after the other."""
