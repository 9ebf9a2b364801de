"""Several processes that serve the same models on the same ports, and the supervisor that keeps them alive.

- `seat`: what a worker is given: the listening sockets of the server and its place among the others.
- `worker`: what runs in the process of a worker.
- `supervisor`: starts workers, restarts those that end, replaces them one after the other, and ends them.

The supervisor owns the listening sockets of HTTP and every worker accepts from them: a connection that waits when a
worker ends is accepted by another one, which sockets of the workers' own (`SO_REUSEPORT`) could not give. gRPC opens
its sockets itself; its workers share the port by `SO_REUSEPORT`, and its clients connect again.
"""
