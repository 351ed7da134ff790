//! Operators and scalers: the `admin` listener (metrics, health, API), `keda`'s external scaler, a scrape's
//! `gauges`, and `reload`.

pub(crate) mod admin;
pub(crate) mod certificates;
pub(crate) mod gauges;
pub mod keda;
pub mod reload;
