-- Stations that come and go: what the broker itself knows, with the reason where it was not the station's wish.

CREATE RULE presence AS
INSERT INTO station_presence
SELECT
  clientid AS station,
  CASE WHEN event = 'client.connected' THEN 'online' ELSE 'offline' END AS state,
  reason,
  format_date('millisecond', '%Y-%m-%dT%H:%M:%S.%3NZ', timestamp) AS at
FROM "$events/client/connected", "$events/client/disconnected"
WHERE username = 'stations';
