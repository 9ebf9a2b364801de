"""Numbers of JSON bodies straight into tensors, and tensors straight into JSON, by compiled code.

`lift` finds the lists of numbers in a body and reads them without making a Python object a number; what is left of the
body is small and goes through the parser that it always went through. `written` writes tensors as nested lists.
"""
