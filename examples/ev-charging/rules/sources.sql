-- What the other files read by name.

-- The telemetry with names and types. A row may come two seconds late; where nothing comes, time goes on after ten.
CREATE SOURCE meter (
  station TEXT NOT NULL,
  connector BIGINT NOT NULL,
  power DOUBLE NOT NULL,
  energy DOUBLE NOT NULL,
  temperature DOUBLE,
  soc BIGINT,
  ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter', idle_timeout = '10 seconds');

-- What is known of each station beside its messages; read again when the file changes.
CREATE TABLE stations (
  station TEXT,
  site TEXT,
  city TEXT
) WITH (type = 'lookup', file = 'stations.csv', key = 'station');
