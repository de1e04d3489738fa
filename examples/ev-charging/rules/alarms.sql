-- A connector above 80 degrees Celsius: a row for the record, and a message for whoever is on duty.

CREATE RULE over_temperature AS
INSERT INTO alarms
SELECT
  clientid AS station,
  int(payload.connector) AS connector,
  float(payload.temperature) AS celsius,
  CASE WHEN payload.temperature > 90 THEN 'critical' ELSE 'warning' END AS severity,
  format_date('millisecond', '%Y-%m-%dT%H:%M:%S.%3NZ', payload.ts) AS raised_at
FROM "cp/+/+/meter"
WHERE payload.temperature > 80;

CREATE RULE over_temperature_notice AS
INSERT INTO alarm_topic
SELECT
  clientid AS station,
  payload.connector AS connector,
  payload.temperature AS celsius,
  payload.ts AS ts
FROM "cp/+/+/meter"
WHERE payload.temperature > 80;
