# The commands of this repository. `just` lists them; each also works without just.

# All checks that a change must pass: format, lints, documentation, all tests
check:
    .ci/run

# All tests; installs what they need
test:
    tests/run

# One simulated world with the embedded settings
sim *ARGS:
    cargo run --locked --package slotkeeper-sim -- {{ARGS}}

# Many worlds, on all cores
hunt SEEDS="200":
    cargo run --locked --profile hunt --package slotkeeper-sim -- hunt --seeds {{SEEDS}} --covered

# Many cases of the core's swarm
swarm CASES="50000":
    tests/swarm {{CASES}}

# Plants bugs, one at a time, and reports which check finds each
mutants *WORDS:
    tests/mutants {{WORDS}}

bench:
    cargo bench --locked --workspace

# One fuzz target of crates/dispatcher/fuzz (needs cargo-fuzz and a nightly toolchain)
fuzz TARGET:
    cd crates/dispatcher && cargo fuzz run {{TARGET}}

# Phrases that a reader has to decode
prose *PATHS:
    tests/prose {{PATHS}}
