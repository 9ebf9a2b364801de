"""TensorFlow Serving's REST interface.

routes.py         paths and verbs
json_parser.py    JSON as TensorFlow Serving reads it: the exact, slow reader
documents.py      body → document: the fast readers, where they cannot differ from the exact one
values.py         JSON values in error messages
tensors_in.py     rows and columns → tensors
examples_in.py    lists of features → examples
tensors_out.py    tensors → rows and columns
float_text.py     the text of numbers
answers.py        body → answer, for each verb
pages.py          status and metadata
errors.py         errors in TensorFlow Serving's words, and their statuses
app.py            the ASGI application
"""
