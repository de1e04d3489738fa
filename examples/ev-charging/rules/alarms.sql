-- Too hot is a state, not a reading: raised once when 3 of 5 readings are above 80 degrees Celsius, cleared once below 75.

CREATE VIEW overheating AS
SELECT
  station,
  connector,
  temperature AS celsius,
  hysteresis(temperature > 80, temperature < 75, 3, 5) OVER (
    PARTITION BY station, connector
  ) AS active,
  ts
FROM meter
WHERE temperature IS NOT NULL
QUALIFY active != lag(active, 1, FALSE) OVER (PARTITION BY station, connector);

-- A row for the record, and a message for whoever is on duty, who wants to know where to go.
CREATE RULE over_temperature AS
INSERT INTO alarms, alarm_topic
SELECT
  o.station AS station,
  s.site AS site,
  s.city AS city,
  o.connector AS connector,
  o.celsius AS celsius,
  CASE WHEN o.active THEN 'raised' ELSE 'cleared' END AS state,
  o.ts AS at
FROM overheating AS o
LEFT JOIN stations AS s ON s.station = o.station;
