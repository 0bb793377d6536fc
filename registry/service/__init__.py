"""`nightshift serve`: the adapter in Production behind HTTP, switched without dropping a request."""
