"""A real Apache Kafka for the tests and for `make kafka`: which one this machine can have, and starting it."""

VERSION = "4.3.1"
