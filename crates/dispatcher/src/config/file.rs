//! From a TOML file to a `Config`.
