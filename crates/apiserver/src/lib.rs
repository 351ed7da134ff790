//! A small Kubernetes API server for tests: as much of the API as a dispatcher talks to, answering as a real one does.
