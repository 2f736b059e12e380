"""The cache of evaluations: the stored run that has answered a request."""
