"""From served records and behaviour events to training sets.

`records` is what the server logs and `writer` writes it, `events` is what users did, `join` says what the join means
and `duckdb` runs it; the result is a `sampleset.Samples`, whose columns go straight into the plan.
"""
