"""MQTT 3.1, 3.1.1 and 5.0: packets, sessions, subscriptions, routing, retained messages, listeners, access.

Everything but ``listeners`` and the authentication providers is synchronous and without I/O: bytes and the time go
in, bytes and the next deadline come out. Imports ``core`` only; what a message means is the business of ``rules``.
"""
