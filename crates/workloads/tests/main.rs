//! Tests the workloads as their clients use them: over real sockets. One test binary with a module for each.

mod console;
mod gateway;
