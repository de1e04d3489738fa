"""Apache Kafka: settings, the connection, and one adapter for each driver behind one small interface."""
