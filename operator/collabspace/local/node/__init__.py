"""A node of the embedded cluster: to the API server a Node like any other, to this machine a starter of processes."""
