"""The error of a Redis that cannot be asked, without the imports of its client."""


class RedisUnavailable(Exception):
    """Redis cannot be asked at present."""
