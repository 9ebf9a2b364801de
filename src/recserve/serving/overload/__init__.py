"""What keeps a server useful under more work than it can do: deadlines, priorities, and a queue that knows its length.

- `turn`: one call: how long its caller waits, how urgent it is, and whether anybody still waits for it.
- `queue`: the calls that wait for a thread, and which of them are refused.
- `pace`: how long calls take, so that the wait can be told before it is over.
"""
