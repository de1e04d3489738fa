"""Private servers for integration tests: each on free ports of loopback, in a folder of its own, gone afterwards.

A server that is not installed skips the test; ``tests/conftest.py`` names them all in one line at the end. Everything
can be stopped, killed, frozen (SIGSTOP) and started again on the same port with the same data.
"""

from tests.servers.base import Server, free_port
from tests.servers.influxdb import Influxdb, VictoriaMetrics
from tests.servers.kafka import Kafka
from tests.servers.mosquitto import Mosquitto
from tests.servers.proxy import Proxy
from tests.servers.sql import Mariadb, Postgresql

__all__ = ["Influxdb", "Kafka", "Mariadb", "Mosquitto", "Postgresql", "Proxy", "Server", "VictoriaMetrics", "free_port"]
