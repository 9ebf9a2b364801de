"""Versions come and go while the process serves.

    policy.py         which versions of a model are wanted, and what to load and unload next
    model_config.py   the models of a process: TensorFlow Serving's `model_config_file`, checked
    base.py           a base directory, local or remote: its versions, and whether one has arrived whole
    loading.py        threads that load and close, away from the serving path
    warmup.py         requests that a version answers before anybody else's
    tfrecord.py       the file format of TensorFlow's warm-up requests
    lifecycle.py      joins them: polls, loads, swaps, retries, labels, and takes new configurations
    freed_memory.py   gives freed memory back to the system

A version is served only when it has arrived whole, is loaded and is warm. A version that cannot be loaded is tried
again, and never takes a good one down.
"""
