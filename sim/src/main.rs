//! Arguments, and the command they name.

fn main() {}
