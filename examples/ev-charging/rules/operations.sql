-- What the stations do: statuses and transactions, one row each, kept up to date (write = "upsert").

CREATE RULE status AS
INSERT INTO station_status
SELECT
  clientid AS station,
  int(payload.connectorId) AS connector,
  payload.status AS status,
  payload.errorCode AS error_code,
  CAST(payload.timestamp AS TIMESTAMP) AS since
FROM "cp/+/ocpp/StatusNotification/+";

CREATE RULE transaction_start AS
INSERT INTO transactions
SELECT
  int(payload.transactionId) AS transaction_id,
  clientid AS station,
  int(payload.connectorId) AS connector,
  payload.idTag AS id_tag,
  payload.meterStart AS meter_start_wh,
  CAST(payload.timestamp AS TIMESTAMP) AS started_at
FROM "cp/+/ocpp/StartTransaction";

CREATE RULE transaction_stop AS
INSERT INTO transactions
SELECT
  int(payload.transactionId) AS transaction_id,
  payload.meterStop AS meter_stop_wh,
  payload.reason AS stop_reason,
  CAST(payload.timestamp AS TIMESTAMP) AS stopped_at
FROM "cp/+/ocpp/StopTransaction";
