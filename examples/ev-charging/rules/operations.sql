-- What the stations do: statuses and transactions, one row each, kept up to date (write = "upsert").
-- CAST and int() give the columns of the tables their types; what is not there would be an error, and is counted.

CREATE RULE status AS
INSERT INTO station_status
SELECT
  clientid AS station,
  int(payload.connectorId) AS connector,
  CAST(payload.status AS TEXT) AS status,
  CAST(payload.errorCode AS TEXT) AS error_code,
  CAST(payload.timestamp AS TEXT) AS since
FROM "cp/+/ocpp/StatusNotification/+";

CREATE RULE transaction_start AS
INSERT INTO transactions
SELECT
  int(payload.transactionId) AS transaction_id,
  clientid AS station,
  int(payload.connectorId) AS connector,
  CAST(payload.idTag AS TEXT) AS id_tag,
  int(payload.meterStart) AS meter_start_wh,
  CAST(payload.timestamp AS TEXT) AS started_at
FROM "cp/+/ocpp/StartTransaction";

CREATE RULE transaction_stop AS
INSERT INTO transactions
SELECT
  int(payload.transactionId) AS transaction_id,
  int(payload.meterStop) AS meter_stop_wh,
  CAST(payload.reason AS TEXT) AS stop_reason,
  CAST(payload.timestamp AS TEXT) AS stopped_at
FROM "cp/+/ocpp/StopTransaction";
