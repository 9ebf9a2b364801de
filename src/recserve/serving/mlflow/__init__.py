"""MLflow scoring: the wire of `mlflow models serve`.

    content_types.py   the `Content-Type` header
    frame.py           what a body holds: named columns, or one bare tensor
    json_frame.py      the four JSON forms → frame
    table_frame.py     CSV and Parquet → frame
    model_inputs.py    frame → the inputs of a signature
    predictions.py     outputs → the answer
    scoring.py         a body answered
    app.py             the ASGI application

Import the modules; this package imports none of them.
"""
