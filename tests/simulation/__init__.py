"""The whole worker on a simulated Kafka, clock and exchange, driven by one seed: `python -m tests.simulation`.

What is real: the loop, the engine, the rebuild, and the Kafka edge with its transaction duties. What is simulated: the
client library below it, the brokers, time, and the exchange. A seed that fails is printed, and fails again.
"""
