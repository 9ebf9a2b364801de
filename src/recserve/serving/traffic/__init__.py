"""Versions of one model that share its calls: canaries, A/B tests and shadows.

    split.py        user id → version, by shares
    rollout.py      what is wanted of a model: the stable version, a canary, shadows, and a rule
    tally.py        what was seen of a version: calls, errors, times, scores
    comparison.py   two answers to one request: how far apart
    shadowing.py    asks shadow versions, off the response path
    seen_model.py   the stand-in for a model that sees its calls
    rule.py         when a canary is promoted, and when it is rolled back
    rollouts.py     joins them; kept in a file, so that all workers and the next start have the same
    admin.py        the routes to look at and change them

A call is answered by one version as a whole. Which one depends on the user and the shares alone, so that a user stays
with a version while its share grows.
"""
