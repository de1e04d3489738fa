-- Two dialects of the same fact, one table.

-- Plain telemetry: cp/CP-0001/2/meter {"station": ..., "connector": 2, "power": 7321.5, "energy": ..., "ts": ...}
CREATE RULE telemetry AS
INSERT INTO meter_readings
SELECT
  clientid AS station,
  int(payload.connector) AS connector,
  payload.power / 1000 AS kw,
  payload.energy / 1000 AS kwh,
  payload.soc AS soc,
  format_date('millisecond', '%Y-%m-%dT%H:%M:%S.%3NZ', payload.ts) AS measured_at
FROM "cp/+/+/meter"
WHERE payload.power > 0;

-- OCPP's MeterValues: numbers are texts, and they lie in lists (the first item has the index 1).
CREATE RULE meter_values AS
INSERT INTO meter_readings
SELECT
  clientid AS station,
  int(payload.connectorId) AS connector,
  float(payload.meterValue[1].sampledValue[1].value) / 1000 AS kw,
  float(payload.meterValue[1].sampledValue[2].value) / 1000 AS kwh,
  int(payload.meterValue[1].sampledValue[3].value) AS soc,
  CAST(payload.meterValue[1].timestamp AS TEXT) AS measured_at
FROM "cp/+/ocpp/MeterValues";
