"""Several processes that serve the same models on the same ports, and the supervisor that keeps them alive.

- `seat`: what a worker is given: the listening sockets of the server and its place among the others.
- `worker`: what runs in the process of a worker.
- `supervisor`: starts workers, restarts those that end or hang, replaces them one after the other, and ends them.
- `orders`: what all workers do alike, such as loading a model by request, and the supervisor's book of it.
- `crew`: a worker's side of orders and of signs of life.

The supervisor owns the listening sockets of HTTP and every worker accepts from them: a connection that waits when a
worker ends is accepted by another one, which sockets of the workers' own (`SO_REUSEPORT`) could not give. gRPC opens
its sockets itself; its workers share the port by `SO_REUSEPORT`, and its clients connect again.
"""
