//! A list of addresses with health checks.
