//! Benchmarks only: `cargo bench -p slotkeeper-benches`.
