//! The workloads as their clients meet them: over real sockets. One test binary, a module for each.

mod console;
mod gateway;
