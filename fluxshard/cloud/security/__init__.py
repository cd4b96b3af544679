"""Who may connect, and how a connection is protected: certificates, TLS, tokens, and where plaintext may go.

`docs/security.md` has the model.
"""
