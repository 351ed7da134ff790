//! The journal in a real Redis: `redis-server` (or what `SLOTKEEPER_TEST_REDIS` names: `valkey-server`) is started for each
//! test. Whatever happens to the server, all readers come to one order, and where entries may be lost, that is said before
//! anything new.

mod order;
mod replica;
mod server;
