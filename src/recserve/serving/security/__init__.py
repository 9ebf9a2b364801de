"""Who may call what, and the certificates of the ports.

tokens.py   the tokens that the server knows, from files and the environment
rules.py    which of them open which protocol, kind of call and model
guard.py    a request's headers and path → allowed, or refused
targets.py  path or gRPC method → kind of call, and the model it names
tls.py      certificates, read again when their files change
"""
