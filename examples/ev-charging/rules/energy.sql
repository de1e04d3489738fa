-- Streams into minutes and transactions: what a data team wants to read instead of every single measurement.

-- Each connector's minute. emit = 'on_change' keeps the present minute up to date too: the sink's key makes it one row.
CREATE VIEW connector_1m WITH (emit = 'on_change', allowed_lateness = '1 minute') AS
SELECT
  station,
  connector,
  window_start,
  avg(power) / 1000 AS kw_avg,
  max(power) / 1000 AS kw_max,
  counter_delta(energy) / 1000 AS kwh,
  max(temperature) AS celsius_max,
  count(*) AS samples
FROM TUMBLE(meter, ts, INTERVAL '1 minute')
GROUP BY station, connector, window_start;

INSERT INTO connector_1m
SELECT *
FROM connector_1m;

-- OCPP's readings, of which each names its transaction.
CREATE VIEW charging AS
SELECT
  clientid AS station,
  int(payload.transactionId) AS transaction_id,
  float(payload.meterValue[1].sampledValue[2].value) AS energy
FROM "cp/+/ocpp/MeterValues";

-- The energy of a transaction: its readings are less than two minutes apart.
CREATE RULE transaction_energy WITH (emit = 'on_change') AS
INSERT INTO transaction_energy
SELECT
  transaction_id,
  last(station) AS station,
  window_start AS first_reading,
  counter_delta(energy) / 1000 AS kwh,
  count(*) AS readings
FROM SESSION(charging, INTERVAL '2 minutes')
GROUP BY transaction_id;

-- A station that has sent nothing for 90 seconds: its session ends. One that a stop of headrace cuts off says nothing.
CREATE RULE idle_station WITH (on_end = 'drop') AS
INSERT INTO idle_stations
SELECT station, max(ts) AS last_seen, count(*) AS samples
FROM SESSION(meter, ts, INTERVAL '90 seconds')
GROUP BY station;

-- Rows that came too late for their window, or with a wrong clock.
CREATE RULE late_rows AS
INSERT INTO late_rows
SELECT rule, reason, row.station AS station, row.ts AS ts
FROM system.late_rows;
