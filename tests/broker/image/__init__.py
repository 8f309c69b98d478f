"""An image of Apache Kafka with the official one's layout, for machines that cannot pull images."""
