//! Kubernetes under test: its wire, a fake API server, and an agent's requests.
