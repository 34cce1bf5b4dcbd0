//! SSH under test: its wire, a fake host that answers as OpenSSH does, and an agent's messages.
